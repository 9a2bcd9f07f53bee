//! The resource at `/docs`: Swagger UI, which documents this API and can send requests to it. Its files are
//! compiled in. A content security policy prevents the browser from loading anything from another host.

use std::io::Read as _;
use std::sync::Arc;

use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, VARY, X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use flate2::read::GzDecoder;
use utoipa_swagger_ui::Config;

use super::openapi::parameters::FileName;
use super::openapi::responses::FileErrors;
use super::paths;
use crate::http::path::Parameter;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::negotiate::accepts;

/// Allows this server as the only source, and no inline scripts or styles. Swagger UI has small images as `data:`
/// URLs, and one style attribute (it hides the icons that other elements refer to), which is allowed by its hash.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-hashes' \
    'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>order-service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// Get the reference page.
///
/// An HTML page that documents this API and can send requests to it.
#[utoipa::path(
    get,
    path = paths::DOCS.template,
    operation_id = "getReferencePage",
    tag = "operations",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, SECURITY_POLICY))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(PAGE)
}

/// Get a file of the reference page.
///
/// Scripts, style sheets and images that the page refers to.
#[utoipa::path(
    get,
    path = paths::DOCS_FILE.template,
    operation_id = "getReferenceFile",
    tag = "operations",
    params(FileName),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"), (String = "text/javascript"), (String = "image/png"), (String = "text/html"),
        )),
        FileErrors,
    )
)]
pub(crate) async fn file(
    request: HttpRequest,
    Parameter(name): Parameter,
) -> Result<HttpResponse, Problem> {
    // The badge of Swagger's validator would be loaded from another host.
    let config = Config::from("/openapi.json")
        .validator_url("none")
        .try_it_out_enabled(true)
        .display_request_duration(true);
    let found = utoipa_swagger_ui::serve(&name, Arc::new(config)).map_err(Problem::internal)?;
    let Some(file) = found.filter(|_| !name.is_empty()) else {
        return Err(Problem::new(
            ProblemKind::NotFound,
            "There is no such file.",
        ));
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, file.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=3600"));
    if !file.gzpipped {
        return Ok(response.body(file.bytes.into_owned()));
    }
    response.insert_header((VARY, "Accept-Encoding"));
    if accepts(request.headers(), &ACCEPT_ENCODING, "gzip") {
        response.insert_header((CONTENT_ENCODING, "gzip"));
        return Ok(response.body(file.bytes.into_owned()));
    }
    let mut plain = Vec::new();
    GzDecoder::new(&*file.bytes)
        .read_to_end(&mut plain)
        .map_err(Problem::internal)?;
    Ok(response.body(plain))
}
