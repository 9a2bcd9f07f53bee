use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::slots::Slots;
use super::*;

async fn pair(timeouts: ClientTimeouts) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let slot = Slots::new(1, 1, None).acquire().unwrap();
    (client, Connection::new(stream, Rc::new(timeouts), slot))
}

const TIMEOUTS: ClientTimeouts = ClientTimeouts {
    head: Duration::from_millis(100),
    idle: Duration::from_millis(500),
    stuck: Duration::from_millis(300),
    linger: Duration::from_millis(400),
    overflow: Duration::from_secs(1),
};

#[actix_rt::test]
async fn a_stream_that_sends_is_not_idle_and_one_that_stops_is() {
    let (_client, connection) = pair(TIMEOUTS).await;
    let (mut reader, mut writer) = tokio::io::split(connection);
    let start = Instant::now();
    let responding = async {
        for _ in 0..30 {
            writer.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut buffer = [0; 8];
    let result = tokio::select! {
        () = responding => unreachable!(),
        result = reader.read(&mut buffer) => result,
    };
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(
        start.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        start.elapsed()
    );
}

#[actix_rt::test]
async fn a_client_is_idle_from_the_end_of_its_response() {
    let (mut client, mut connection) = pair(TIMEOUTS).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 64];
    assert_eq!(connection.read(&mut buffer).await.unwrap(), 27);
    let start = Instant::now();
    let request = connection.activity();
    let responding = async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(request.begin());
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        () = responding => unreachable!(),
        result = connection.read(&mut buffer) => result,
    };
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    let idle = start.elapsed() - Duration::from_millis(700);
    assert!(idle >= Duration::from_millis(490), "{idle:?}");
}

#[actix_rt::test]
async fn an_incomplete_head_is_replaced_with_a_rejected_request() {
    let (mut client, mut connection) = pair(TIMEOUTS).await;
    client.write_all(b"GET").await.unwrap();
    let mut buffer = [0; 1024];
    let read = connection.read(&mut buffer).await.unwrap();
    let request = String::from_utf8_lossy(&buffer[..read]);
    assert!(request.starts_with("REJECTED / HTTP/1.1\r\n"), "{request}");
    assert!(connection.activity().closes_after_response());
}

#[actix_rt::test]
async fn a_response_that_its_client_does_not_read_is_aborted() {
    let (_client, mut connection) = pair(TIMEOUTS).await;
    let start = Instant::now();
    let part = vec![0; 64 * 1024];
    let error = loop {
        if let Err(error) = connection.write_all(&part).await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(290));
}

#[actix_rt::test]
async fn a_response_that_its_client_reads_slowly_is_not_aborted() {
    let (mut client, mut connection) = pair(TIMEOUTS).await;
    // The option that a server sets. Without it, the kernel accepts megabytes and then nothing for a long time.
    let socket = socket2::SockRef::from(connection.stream());
    socket.set_tcp_notsent_lowat(128 * 1024).unwrap();
    let part = vec![0; 64 * 1024];
    let writing = async {
        loop {
            connection.write_all(&part).await.unwrap();
        }
    };
    let reading = async {
        let mut buffer = vec![0; 512 * 1024];
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.read_exact(&mut buffer).await.unwrap();
        }
    };
    tokio::select! { () = writing => unreachable!(), () = reading => {} }
}
