//! Query strings: repeated parameters, pagination, sorting.

use serde_json::{Value, json};

use crate::refusal::Refusal;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query string.
    pub fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All values of a repeated parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether a filter, which may be repeated, accepts a value.
    pub fn lets_pass(&self, name: &str, value: &str) -> bool {
        self.one(name).is_none() || self.all(name).any(|wanted| wanted == value)
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Refusal> {
        match self.one(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(number)) if number >= 1 => Ok(number),
            Some(_) => Err(Refusal::invalid(name, "must be a positive number")),
        }
    }

    /// Makes the response with one page of a list and its `meta`.
    pub fn page(&self, key: &str, mut all: Vec<Value>) -> Result<Value, Refusal> {
        for sort in self.all("sort").collect::<Vec<_>>().into_iter().rev() {
            let (field, order) = sort.split_once(':').unwrap_or((sort, "asc"));
            if !["id", "name", "created", "status", "command", "started"].contains(&field) {
                return Err(Refusal::invalid("sort", "cannot be sorted by that"));
            }
            all.sort_by(|a, b| {
                let number = |value: &Value| value[field].as_u64();
                let text = |value: &Value| value[field].as_str().map(str::to_owned);
                let ordering = number(a).cmp(&number(b)).then(text(a).cmp(&text(b)));
                if order == "desc" { ordering.reverse() } else { ordering }
            });
        }
        let page = self.number("page", 1)?;
        let per_page = self.number("per_page", 25)?;
        if per_page > 50 {
            return Err(Refusal::invalid("per_page", "must be at most 50"));
        }
        let total = all.len();
        let last = total.div_ceil(per_page).max(1);
        let list: Vec<Value> = all.into_iter().skip((page - 1) * per_page).take(per_page).collect();
        Ok(json!({
            key: list,
            "meta": { "pagination": {
                "page": page,
                "per_page": per_page,
                "previous_page": (page > 1).then(|| page - 1),
                "next_page": (page < last).then(|| page + 1),
                "last_page": last,
                "total_entries": total,
            }},
        }))
    }
}
