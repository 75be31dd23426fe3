//! The end of a run's output, in which the reason of a failure is looked for.

/// How much is kept, in bytes.
const TAIL_BYTES: usize = 1 << 20;

/// The end of the output of a run, of both streams as they came.
#[derive(Debug, Default)]
pub(super) struct OutputTail(Vec<u8>);

impl OutputTail {
    /// Adds output.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * TAIL_BYTES {
            self.0.drain(..self.0.len() - TAIL_BYTES);
        }
    }

    /// The text without the escape sequences of terminals. What a progress bar has been replaced by
    /// is a line of its own.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0).replace('\r', "\n");
        anstream::adapter::strip_str(&text).to_string()
    }

    /// The last bytes, as text.
    pub(super) fn last(&self, bytes: usize) -> String {
        let start = self.0.len().saturating_sub(bytes);
        String::from_utf8_lossy(&self.0[start..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_output_is_kept() {
        let mut tail = OutputTail::default();
        for _ in 0..5 {
            tail.add(&vec![b'x'; TAIL_BYTES]);
        }
        tail.add(b"end");
        assert!(tail.0.len() <= 2 * TAIL_BYTES && tail.text().ends_with("xend"));
        assert_eq!(tail.last(4), "xend");
    }

    #[test]
    fn what_replaces_a_progress_bar_is_a_line() {
        let mut tail = OutputTail::default();
        tail.add(b"    Building [=> ] 0/1: app(bin)\r\x1b[K\x1b[1merror\x1b[0m: x\r\n");
        assert!(tail.text().lines().any(|line| line == "error: x"));
    }
}
