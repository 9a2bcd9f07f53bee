//! Path templates, and the parameter in the path of a request.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;

use super::problem::Problem;
use super::request::context::RequestContext;

/// The label of a path that belongs to no template. Text from clients must not become a label: every scanner would
/// fill the memory with series.
const UNMATCHED: &str = "unmatched";

/// The path of a route, with at most one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathTemplate {
    /// The path with its parameter in braces: `/api/v1/orders/{id}`. It labels metrics.
    pub(crate) template: &'static str,
    /// The path under which Actix registers the route. It has no parameter: Actix matches parameters with a
    /// regular expression, which took as long as all other work to get an order.
    pub(crate) actix_path: &'static str,
    has_parameter: bool,
    /// Whether the parameter is personal data. Then logs and problems have the template instead of the path.
    pub(crate) is_personal: bool,
    /// Whether the route is a probe, which is served even when the service is overloaded.
    pub(crate) is_probe: bool,
}

impl PathTemplate {
    /// Represents a path that belongs to no template.
    pub(crate) const UNMATCHED: Self = Self::literal(UNMATCHED);

    /// Creates the template of a path without a parameter.
    pub(crate) const fn literal(path: &'static str) -> Self {
        Self {
            template: path,
            actix_path: path,
            has_parameter: false,
            is_personal: false,
            is_probe: false,
        }
    }

    /// Creates the template of a path with a parameter, and the path under which Actix registers it.
    pub(crate) const fn with_parameter(template: &'static str, actix_path: &'static str) -> Self {
        Self {
            template,
            actix_path,
            has_parameter: true,
            is_personal: false,
            is_probe: false,
        }
    }

    /// Creates the template of a path with a parameter that is personal data.
    pub(crate) const fn with_personal_parameter(
        template: &'static str,
        actix_path: &'static str,
    ) -> Self {
        Self {
            is_personal: true,
            ..Self::with_parameter(template, actix_path)
        }
    }

    /// Creates the template of a probe.
    pub(crate) const fn probe(path: &'static str) -> Self {
        Self {
            is_probe: true,
            ..Self::literal(path)
        }
    }

    /// Whether `path` belongs to the template. A parameter is one segment that is not empty.
    pub(super) fn matches(&self, path: &str) -> bool {
        if !self.has_parameter {
            return path == self.template;
        }
        let mut segments = path.split('/');
        self.template.split('/').all(|expected| {
            segments.next().is_some_and(|segment| {
                segment == expected || expected.starts_with('{') && !segment.is_empty()
            })
        }) && segments.next().is_none()
    }
}

/// How often a path is decoded, because clients and proxies may encode it more than once.
const MAX_DECODINGS: usize = 4;

impl PathTemplate {
    /// Whether `path` may contain the personal data of the template, although it may not belong to it: a client may have
    /// forgotten to encode a slash, encoded too much, or written the name of the collection in another case, in the
    /// singular, or below another prefix. So every path with that name and something after it counts.
    pub(super) fn discloses(&self, path: &str) -> bool {
        if !self.is_personal {
            return false;
        }
        let before = self.template.split("/{").next().unwrap_or_default();
        let collection = before.rsplit('/').next().unwrap_or_default();
        let name = collection.strip_suffix('s').unwrap_or(collection);
        let path = decoded(path).to_lowercase();
        path.find(name).is_some_and(|at| {
            let after = path.get(at + name.len()..).unwrap_or_default();
            let after = after.strip_prefix('s').unwrap_or(after);
            after.chars().any(|c| !matches!(c, '/' | '\\'))
        })
    }
}

/// A path without its percent-encoding.
fn decoded(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..MAX_DECODINGS {
        let decoded = percent_decode_str(&path).decode_utf8_lossy();
        if decoded == path {
            break;
        }
        path = decoded.into_owned();
    }
    path
}

/// The decoded parameter in the path of a request.
pub(crate) struct Parameter(pub(crate) String);

impl FromRequest for Parameter {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || Problem::internal("the template of the route has no parameter");
        let found = RequestContext::of(request).and_then(|context| {
            let mut segments = context.template.split('/').zip(request.path().split('/'));
            let (_, segment) = segments
                .find(|(expected, _)| expected.starts_with('{'))
                .ok_or_else(missing)?;
            // With replacement characters, a segment that is not UTF-8 would match a name that really contains
            // them. The empty text matches no name, because a parameter segment is never empty.
            let decoded = percent_decode_str(segment).decode_utf8();
            Ok(Self(decoded.unwrap_or_default().into_owned()))
        });
        ready(found)
    }
}
