//! The log of API calls.

use serde::Serialize;

/// A call of the API.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// The HTTP method.
    pub method: String,
    /// The route, such as `/servers/{id}`.
    pub route: String,
    /// The path of the request.
    pub path: String,
    /// The query string.
    pub query: String,
    /// The time of arrival, in microseconds of real time since the simulator's start.
    pub began: u64,
    /// The time of the response, on the same clock.
    pub ended: Option<u64>,
    /// The HTTP status; `None` if the connection was closed without a response.
    pub status: Option<u16>,
}

impl Call {
    /// Method and route, such as `GET /servers/{id}`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.route)
    }
}

/// The number of sequential waits: the size of the largest set of calls that do not overlap.
/// Consecutive polls of the same actions count as one call.
pub fn sequential_waits(calls: &[Call]) -> usize {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    let mut polled: Option<(&str, usize)> = None;
    for call in calls {
        let ended = call.ended.unwrap_or(call.began);
        if call.route == "/actions" {
            match polled {
                Some((query, index)) if query == call.query => spans[index].1 = ended,
                _ => {
                    polled = Some((&call.query, spans.len()));
                    spans.push((call.began, ended));
                }
            }
        } else {
            spans.push((call.began, ended));
        }
    }
    spans.sort_by_key(|(_, ended)| *ended);
    let mut waits = 0;
    let mut free = 0;
    for (began, ended) in spans {
        if began >= free {
            waits += 1;
            free = ended.max(1);
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(route: &str, query: &str, began: u64, ended: u64) -> Call {
        Call {
            method: "GET".into(),
            route: route.into(),
            path: route.into(),
            query: query.into(),
            began,
            ended: Some(ended),
            status: Some(200),
        }
    }

    #[test]
    fn calls_at_the_same_time_are_one_wait() {
        let calls = [
            call("/servers", "", 1, 10),
            call("/volumes", "", 2, 9),
            call("/servers", "", 11, 20),
            call("/actions", "id=1", 21, 25),
            call("/actions", "id=1", 30, 35),
        ];
        assert_eq!(sequential_waits(&calls), 3);
    }
}
