//! A client of the simulator over plain HTTP, for tests that want no client of the product.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::simulator::Simulator;

impl Simulator {
    /// Makes a request with all permissions, such as `GET /v1/servers`, where null is an empty
    /// body; returns status and body. Panics if the connection is closed instead.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.address()).expect("a connection");
        let token = &self.shared().token;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("a connection");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a response");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = match body {
            "" => Value::Null,
            text => serde_json::from_str(text).expect("JSON"),
        };
        (status.expect("a status"), body)
    }
}
