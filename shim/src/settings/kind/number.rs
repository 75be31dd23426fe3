//! Kinds of numbers: a whole number of a range, an amount of money.

use toml::de::DeValue;

use super::{Kind, Shown};
use crate::error::Error;
use crate::settings::error::invalid;
use crate::settings::origin::Subject;

/// A whole number of a range.
pub(in crate::settings) struct Whole {
    min: u64,
    max: u64,
}

impl Whole {
    /// From `min` to `max`, both included.
    pub(in crate::settings) const fn between(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// `number` is none where its digits are more than fit.
    fn checked(&self, number: Option<u64>, got: &str, subject: &Subject) -> Result<u64, Error> {
        let Self { min, max } = self;
        number.filter(|number| (*min..=*max).contains(number)).ok_or_else(|| {
            invalid(format!("{subject} must be between {min} and {max} (got {got})"))
        })
    }
}

impl Kind for Whole {
    type Value = u64;

    fn expected(&self) -> String {
        format!("a whole number between {} and {}", self.min, self.max)
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<u64, Error> {
        match value {
            DeValue::Integer(digits) => {
                let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
                self.checked(number, &digits.to_string(), subject)
            }
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<u64, Error> {
        let text = text.trim();
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let expected = self.expected();
            return Err(invalid(format!("{subject} must be {expected} (got {text:?})")));
        }
        self.checked(text.parse().ok(), text, subject)
    }

    fn shown(&self, value: &u64) -> Shown {
        // The largest number of a range is far below what TOML can hold.
        Shown::Value(i64::try_from(*value).unwrap_or(i64::MAX).into())
    }
}

/// Money in EUR without tax: finite and not negative. A negative zero becomes zero.
pub(in crate::settings) struct Amount;

impl Amount {
    fn checked(&self, amount: Option<f64>, got: &str, subject: &Subject) -> Result<f64, Error> {
        match amount {
            Some(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount.abs()),
            _ => Err(invalid(format!("{subject} must be {} (got {got})", self.expected()))),
        }
    }
}

impl Kind for Amount {
    type Value = f64;

    fn expected(&self) -> String {
        "an amount of EUR, such as 40 or 12.5".into()
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<f64, Error> {
        match value {
            DeValue::Integer(digits) => {
                let whole = u32::from_str_radix(digits.as_str(), digits.radix()).ok();
                self.checked(whole.map(f64::from), &digits.to_string(), subject)
            }
            DeValue::Float(digits) => {
                self.checked(digits.as_str().parse().ok(), digits.as_str(), subject)
            }
            other => Err(self.mistyped(other, subject)),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<f64, Error> {
        let text = text.trim();
        self.checked(text.parse().ok(), &format!("{text:?}"), subject)
    }

    fn shown(&self, value: &f64) -> Shown {
        Shown::Value((*value).into())
    }
}
