//! HTTP below the routes: connections, the edge that each request passes, and the parts of requests and
//! responses.

pub(crate) mod activity;
pub(crate) mod connection;
mod edge;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod server;
mod state;

pub(crate) use edge::Edge;
pub(crate) use edge::rates::Rates;
pub(crate) use problem::kind::ProblemKind;
pub(crate) use request::budget::RequestBudget;
pub(crate) use response::budget::ResponseBudget;
pub(crate) use state::HttpState;
