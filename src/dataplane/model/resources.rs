//! Requests and limits of a proxy, compared and described. Pure.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::objects::null_as_empty;
use crate::kubernetes::quantity::{canonical, thousandths};

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    /// Requests.
    #[serde(deserialize_with = "null_as_empty")]
    pub requests: ResourceList,
    /// Limits.
    #[serde(deserialize_with = "null_as_empty")]
    pub limits: ResourceList,
}

/// Quantities as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceList {
    /// CPU.
    #[serde(deserialize_with = "quantity_text")]
    pub cpu: Option<String>,
    /// Memory.
    #[serde(deserialize_with = "quantity_text")]
    pub memory: Option<String>,
}

impl ResourceRequirements {
    /// All quantities: the requests of CPU and memory, then the limits.
    fn quantities(&self) -> [Option<&str>; 4] {
        [&self.requests.cpu, &self.requests.memory, &self.limits.cpu, &self.limits.memory]
            .map(Option::as_deref)
    }

    /// Whether the quantities differ from those of `wanted`. If that is `undefaulted`, quantities that it lacks are ignored.
    #[must_use]
    pub fn differs_from(&self, wanted: &Self, undefaulted: bool) -> bool {
        self.quantities().into_iter().zip(wanted.quantities()).any(|(has, wants)| {
            let is_open = undefaulted && wants.is_none();
            !is_open && !same_quantity(has, wants)
        })
    }

    /// With the defaults of the API server: a missing request equals the limit.
    #[must_use]
    pub fn with_defaults(mut self) -> Self {
        self.requests.cpu = self.requests.cpu.or_else(|| self.limits.cpu.clone());
        self.requests.memory = self.requests.memory.or_else(|| self.limits.memory.clone());
        self
    }
}

/// `cpu 10m-1, memory 192Mi-1Gi`: request and limit.
impl fmt::Display for ResourceRequirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cpu, memory, cpu_limit, memory_limit] =
            self.quantities().map(|amount| amount.map_or_else(|| "none".to_owned(), canonical));
        write!(f, "cpu {cpu}-{cpu_limit}, memory {memory}-{memory_limit}")
    }
}

/// A missing quantity is zero, as for the scheduler.
fn same_quantity(left: Option<&str>, right: Option<&str>) -> bool {
    let amount = |text: Option<&str>| text.map_or(Some(0), thousandths);
    left == right || matches!((amount(left), amount(right)), (Some(left), Some(right)) if left == right)
}

/// In values, quantities may be numbers.
fn quantity_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        number => Some(number.to_string()),
    })
}
