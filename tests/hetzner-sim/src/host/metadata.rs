//! The metadata service of a host.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves requests until the task is aborted.
pub(super) async fn serve(
    listener: TcpListener,
    server: u64,
    address: Option<String>,
    user_data: String,
) {
    let address = address.unwrap_or_default();
    let user_data = Bytes::from(user_data);
    while let Ok((stream, _)) = listener.accept().await {
        let (address, user_data) = (address.clone(), user_data.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.uri().path(), server, &address, &user_data);
                async move { Result::<_, Infallible>::Ok(answer) }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

fn answer(path: &str, server: u64, address: &str, user_data: &Bytes) -> Response<Full<Bytes>> {
    let body = match path.strip_prefix("/hetzner/v1/") {
        Some("userdata") => user_data.clone(),
        Some("metadata/instance-id") => server.to_string().into(),
        Some("metadata/public-ipv4") => address.to_owned().into(),
        Some("metadata/hostname") => format!("server-{server}").into(),
        Some("metadata") => {
            format!("hostname: server-{server}\ninstance-id: {server}\npublic-ipv4: {address}\n")
                .into()
        }
        _ => {
            let mut missing = Response::new(Full::new(Bytes::from("not found")));
            *missing.status_mut() = hyper::StatusCode::NOT_FOUND;
            return missing;
        }
    };
    Response::new(Full::new(body))
}
