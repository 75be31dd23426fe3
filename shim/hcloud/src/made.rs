//! The result of creating a resource.

use crate::action::Action;

/// The result of a create call.
#[derive(Clone, Debug)]
pub enum Made<T> {
    /// The resource was created; these actions are in progress.
    Created(T, Vec<Action>),
    /// The resource existed with the requested labels: from an earlier attempt of this call,
    /// or from another command.
    Adopted(T),
}

impl<T> Made<T> {
    /// The resource.
    pub const fn resource(&self) -> &T {
        match self {
            Self::Created(resource, _) | Self::Adopted(resource) => resource,
        }
    }

    /// Splits the result into the resource and the actions to wait for.
    pub fn into_parts(self) -> (T, Vec<Action>) {
        match self {
            Self::Created(resource, actions) => (resource, actions),
            Self::Adopted(resource) => (resource, Vec::new()),
        }
    }
}
