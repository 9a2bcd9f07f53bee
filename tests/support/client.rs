//! An HTTP client that validates every response against the OpenAPI document.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The committed OpenAPI document.
fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    document: Arc<Value>,
}

impl Client {
    pub fn new() -> Self {
        let inner = reqwest::Client::builder().read_timeout(Duration::from_secs(30));
        Self {
            inner: inner.build().unwrap(),
            document: Arc::new(document()),
        }
    }

    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        Request {
            builder: self.inner.request(method, url.as_ref()),
            client: self.clone(),
        }
    }

    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    pub fn head(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::HEAD, url)
    }

    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    pub fn patch(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::PATCH, url)
    }

    pub fn delete(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::DELETE, url)
    }

    /// The value that a reference of the document names, or the value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.document.pointer(pointer).unwrap()
            }
            None => value,
        }
    }

    /// Panics when the document does not describe this response.
    fn validate(&self, method: &Method, response: &Response) {
        let path = response.url.path();
        let Some((_, operations)) = self.document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(template, _)| matches(template, path))
            // The longest template is the most precise.
            .max_by_key(|(template, _)| template.len())
        else {
            // `/metrics`, or a path that does not exist.
            return;
        };
        let head = method == Method::HEAD;
        // HEAD is documented as GET; a method without an operation gets 405.
        let method = if head {
            "get"
        } else {
            &method.as_str().to_lowercase()
        };
        let wrong_method;
        let operation = match operations.get(method) {
            Some(operation) => operation,
            None => {
                let documented = &self.document["x-unsupported-method"];
                wrong_method = json!({"responses": {"405": documented}});
                &wrong_method
            }
        };
        let status = response.status.as_u16().to_string();
        let what = format!("{method} {path} {status}");
        let documented = operation["responses"]
            .get(&status)
            .unwrap_or_else(|| panic!("{what} is not in the document: {response:?}"));
        let documented = self.resolve(documented);
        // The description of the API names these two headers once for all responses.
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        let cache_control = if path.starts_with("/docs/") && response.status.is_success() {
            "public, max-age=3600"
        } else {
            "no-store"
        };
        assert_eq!(response.header("cache-control"), cache_control, "{what}");
        for (name, header) in documented["headers"].as_object().into_iter().flatten() {
            let required = self.resolve(header)["required"] == true;
            assert!(
                !required || response.headers.contains_key(name),
                "{what} lacks {name}"
            );
        }
        let Some(content) = documented["content"].as_object() else {
            return;
        };
        let media_type = response.headers["content-type"].to_str().unwrap();
        let media_type = media_type.split(';').next().unwrap();
        let schema = &content
            .get(media_type)
            .unwrap_or_else(|| panic!("{what}: {media_type} is not in the document"))["schema"];
        assert!(!response.body.is_empty() || head, "{what} has no body");
        let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
        if !is_json || head {
            return;
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let whole = json!({"allOf": [schema], "components": self.document["components"]});
        let validator: Validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&whole)
            .unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&body)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:?} in {body}");
    }
}

/// Whether a path is an instance of a path template.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(expected, part)| {
            expected == part || expected.starts_with('{') && !part.is_empty()
        })
}

/// A request to send.
pub struct Request {
    builder: RequestBuilder,
    client: Client,
}

impl Request {
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.builder = self.builder.header(name, value.as_ref());
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.builder = self.builder.body(body);
        self
    }

    pub async fn send(self) -> reqwest::Result<Response> {
        let request = self.builder.build()?;
        let method = request.method().clone();
        let response = self.client.inner.execute(request).await?;
        let response = Response {
            status: response.status(),
            headers: response.headers().clone(),
            url: response.url().clone(),
            body: response.bytes().await?.to_vec(),
        };
        self.client.validate(&method, &response);
        Ok(response)
    }

    /// Sends the request and returns before the body is complete. The response is not validated.
    pub async fn send_streaming(self) -> reqwest::Result<reqwest::Response> {
        self.client.inner.execute(self.builder.build()?).await
    }
}

/// A response with its whole body.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    url: Url,
    body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.url, self.status, self.text())
    }
}

impl Response {
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().unwrap()
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The target of the `Link` with `rel="next"`.
    pub fn next_link(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest, "; rel=\"next\"");
        Some(target.to_owned())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}
