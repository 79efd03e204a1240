//! Switches set by whoever runs the cluster, in ConfigMap `kyma-system/istio-features`.

use serde_json::{Map, Value, json};

/// Switches set by whoever runs the cluster. All are off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Leaves the CNI agent out; pods are set up by an init container instead.
    pub disable_cni: bool,
    /// Vertical autoscalers manage the memory of the control plane.
    pub enable_control_plane_vpa: bool,
}

const DISABLE_CNI: &str = "disableCni";
const CONTROL_PLANE_VPA: &str = "enableControlPlaneVPA";

impl Features {
    /// Reads the key `features` of the ConfigMap, a JSON object. Names of switches match in any case, as in the Go
    /// operator; unknown ones are for other versions and are ignored. An empty text sets no switch.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let switches = match value {
            Value::Object(switches) => switches,
            Value::Null => Map::new(),
            _ => return Err("it is no object".to_owned()),
        };
        Ok(Self {
            disable_cni: switch(&switches, DISABLE_CNI)?,
            enable_control_plane_vpa: switch(&switches, CONTROL_PLANE_VPA)?,
        })
    }

    /// The switches as `parse` reads them.
    #[must_use]
    pub fn to_json(self) -> String {
        json!({DISABLE_CNI: self.disable_cni, CONTROL_PLANE_VPA: self.enable_control_plane_vpa}).to_string()
    }
}

fn switch(switches: &Map<String, Value>, name: &str) -> Result<bool, String> {
    // The last of several spellings wins, as in Go.
    match switches.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
        None | Some((_, Value::Null)) => Ok(false),
        Some((_, Value::Bool(on))) => Ok(*on),
        Some((key, other)) => Err(format!("{key} is {other}, and not true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_by_name_in_any_case() {
        let on = Features { disable_cni: true, enable_control_plane_vpa: true };
        for (text, expected) in [
            ("{}", Features::default()),
            ("null", Features::default()),
            (" \n", Features::default()),
            (r#"{"disableCni": null, "later": [1]}"#, Features::default()),
            (r#"{"disableCni": true}"#, Features { disable_cni: true, ..Features::default() }),
            (r#"{"disableCNI": true, "enablecontrolplanevpa": true}"#, on),
        ] {
            assert_eq!(Features::parse(text), Ok(expected), "{text}");
        }
        assert_eq!(Features::parse(&on.to_json()), Ok(on));
    }

    #[test]
    fn anything_but_an_object_of_switches_is_refused_with_a_reason() {
        for (text, words) in [
            ("{", "EOF"),
            ("[]", "no object"),
            ("1", "no object"),
            (r#"{"disableCni": "yes"}"#, "disableCni is \"yes\""),
            (r#"{"enableControlPlaneVPA": 1}"#, "enableControlPlaneVPA is 1"),
        ] {
            let error = Features::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
