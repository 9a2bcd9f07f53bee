//! Clients with API keys.

use super::auth_file::{AuthFile, api_key, bearer};
use super::client::Response;
use super::database::Database;
use super::raw_client::RawClient;
use super::server::Server;

/// The principals of [`with_principals`].
pub const PRINCIPALS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// Starts a service with an API key for each of [`PRINCIPALS`]. They have all scopes and one tenant. Requests without
/// credentials have all scopes, too. The file must live as long as the service.
pub async fn with_principals(
    database: &Database,
    variables: &[(&str, &str)],
) -> (Server, AuthFile) {
    let scopes: &[&str] = &["orders:read", "orders:write", "events:read"];
    let file = AuthFile::with_keys(&PRINCIPALS.map(|id| (id, scopes, "default")));
    let path = file.path();
    let mut all = vec![("AUTH_FILE", path.as_str()), ("AUTH_ANONYMOUS", "all")];
    all.extend(variables);
    (Server::start(database, &all).await, file)
}

/// The value of `Authorization` for a principal.
pub fn credential(principal: &str) -> String {
    bearer(&api_key(principal))
}

/// Gets a path as a principal.
pub async fn get_as(server: &Server, principal: &str, path: &str) -> Response {
    let request = server.client.get(server.url(path));
    let request = request.header("authorization", credential(principal));
    request.send().await.unwrap()
}

/// A client that reads nothing of the responses to what it sends, with a small buffer in the kernel, so that most of a
/// response stays in the server.
pub async fn client_that_reads_nothing(server: &Server) -> RawClient {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = server.address().parse().unwrap();
    RawClient::new(socket.connect(address).await.unwrap())
}
