//! HTTP below the routes: connections, the edge that each request passes, and what requests and responses
//! are made of.

pub(crate) mod activity;
pub(crate) mod connection;
mod edge;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
mod state;

pub use activity::{Activity, Missing, RejectedHead, RequestGuard, SMALL_REST};
pub use edge::Edge;
pub use path::PathTemplate;
pub use problem::Problem;
pub use problem::kind::ProblemKind;
pub use request::budget::RequestBudget;
pub use request::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_URI};
pub use response::budget::ResponseBudget;
pub use state::HttpState;
