//! Paginated lists.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, Query};
use crate::error::Error;

/// Number of objects per page: the API's maximum.
pub(crate) const PER_PAGE: u32 = 50;

/// Most pages of one list, so that a server that always names a next page cannot keep the
/// client in a loop. No project has 20,000 resources of one kind.
const PAGES_MAX: u32 = 400;

#[derive(Deserialize)]
struct Meta {
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    next_page: Option<u32>,
}

impl Client {
    /// Reads all pages of a list. `key` is the name of the list in the responses.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &'static str,
        query: Query,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut page = 1;
        for _ in 0..PAGES_MAX {
            let mut query = query.clone();
            query.push(("page", page.to_string()));
            query.push(("per_page", PER_PAGE.to_string()));
            let (mut answer, operation) = self.get_raw(path, query).await?;
            let unintelligible =
                |source| Error::Unintelligible { operation, correlation: None, source };
            let list = answer.remove(key).unwrap_or_default();
            let meta = answer.remove("meta");
            let parsed = serde_json::from_value::<Vec<T>>(list).and_then(|list| {
                let meta: Option<Meta> = meta.map(serde_json::from_value).transpose()?;
                Ok((list, meta.and_then(|meta| meta.pagination.next_page)))
            });
            let (list, next) = parsed.map_err(unintelligible)?;
            all.extend(list);
            match next {
                Some(next) if next > page => page = next,
                _ => break,
            }
        }
        Ok(all)
    }
}
