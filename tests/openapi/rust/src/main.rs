#[path = "x.rs"] mod client;
fn main() {}
