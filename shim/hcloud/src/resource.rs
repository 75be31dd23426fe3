//! Requests that servers, volumes, images and firewalls have in common: listing by selector,
//! fetching by id, creating or adopting, labelling.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::of_answer;
use crate::client::{Client, Query, field};
use crate::error::{Code, Error, Operation};
use crate::id::Id;
use crate::label::{Labels, Selector};
use crate::made::Made;

/// A kind of resource that has labels.
pub(crate) trait Resource: DeserializeOwned {
    /// The field of a single resource in responses.
    const ONE: &'static str;
    /// The field of a list in responses, and the last part of the path.
    const MANY: &'static str;

    /// The labels of the resource.
    fn labels(&self) -> &Labels;
}

impl Client {
    /// Lists the resources that match a selector.
    pub(crate) async fn selected<T: Resource>(
        &self,
        selector: &Selector,
        mut query: Query,
    ) -> Result<Vec<T>, Error> {
        query.push(("label_selector", selector.to_string()));
        self.list(&path::<T>(), T::MANY, query).await
    }

    /// Fetches a resource by id; `None` if it does not exist.
    pub(crate) async fn found<T: Resource>(&self, id: Id) -> Result<Option<T>, Error> {
        match self.get(&format!("{}/{id}", path::<T>()), T::ONE).await {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Creates a resource, or adopts an existing one with that name and all labels in `ours`.
    pub(crate) async fn made<T: Resource>(
        &self,
        name: &str,
        new: &(impl Serialize + Sync),
        ours: &Labels,
    ) -> Result<Made<T>, Error> {
        let error = match self.send(Method::POST, &path::<T>(), new).await {
            Ok((mut answer, operation)) => {
                let actions = of_answer(&mut answer, &operation)?;
                return Ok(Made::Created(field(answer, T::ONE, &operation)?, actions));
            }
            Err(error) => error,
        };
        if error.code() != Some(&Code::UniquenessError) && !error.is_uncertain() {
            return Err(error);
        }
        let named = vec![("name", name.to_owned())];
        let found: Vec<T> = self.list(&path::<T>(), T::MANY, named).await?;
        match found.into_iter().next() {
            Some(found)
                if ours.iter().all(|(key, value)| found.labels().get(key) == Some(value)) =>
            {
                Ok(Made::Adopted(found))
            }
            Some(_) => {
                let operation = Operation { method: "POST", path: path::<T>() };
                Err(Error::Taken { operation, name: name.to_owned() })
            }
            None => Err(error),
        }
    }

    /// Replaces all labels of a resource.
    pub(crate) async fn labelled<T: Resource>(&self, id: Id, labels: &Labels) -> Result<(), Error> {
        let body = serde_json::json!({ "labels": labels });
        self.send(Method::PUT, &format!("{}/{id}", path::<T>()), &body).await.map(drop)
    }
}

fn path<T: Resource>() -> String {
    format!("/{}", T::MANY)
}
