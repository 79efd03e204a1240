//! Removes JSON that is nested too deeply from responses before they are parsed.
//!
//! The API server stores custom resources that are nested far deeper than the 127 levels that `serde_json` parses. A single one
//! would make every list and watch of its kind fail. Removed parts become `null`; the rest of the object is read as usual, and
//! validation reports the nesting. No crate filters a stream of JSON without parsing it. 130 lines.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;

/// Levels that remain. `serde_json` parses 127, of which a list or watch event around an object takes two.
const MAX_DEPTH: usize = 100;

/// Whether objects at a path can be nested without limit: custom resources. Built-in kinds have fixed types.
fn is_unbounded(path: &str) -> bool {
    let group = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// A body without parts that are nested too deeply; unchanged for built-in kinds.
pub struct DepthLimitedBody {
    body: Body,
    state: Option<DepthFilter>,
}

impl DepthLimitedBody {
    /// The body of a response to a request for `path`.
    pub(super) fn new(body: Body, path: &str) -> Self {
        Self { body, state: is_unbounded(path).then(DepthFilter::default) }
    }
}

/// The position of the filter in a JSON text, which arrives in parts.
#[derive(Default)]
struct DepthFilter {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl DepthFilter {
    /// Filters a part of the text.
    fn apply(&mut self, part: Bytes) -> Bytes {
        let mut rewritten: Option<Vec<u8>> = None;
        for (at, byte) in part.iter().enumerate() {
            let output = self.step(*byte);
            match &mut rewritten {
                Some(kept) => kept.extend(output.bytes(*byte)),
                None if output == ByteOutput::Unchanged => {}
                // Most parts are unchanged, and are not copied.
                None => {
                    let mut copy = part.slice(..at).to_vec();
                    copy.extend(output.bytes(*byte));
                    rewritten = Some(copy);
                }
            }
        }
        rewritten.map_or(part, Bytes::from)
    }

    fn step(&mut self, byte: u8) -> ByteOutput {
        let before = self.depth;
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_in_string => self.is_escaped = true,
            b'"' => self.is_in_string = !self.is_in_string,
            b'{' | b'[' if !self.is_in_string => self.depth += 1,
            b'}' | b']' if !self.is_in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match (before, self.depth) {
            (MAX_DEPTH, now) if now > MAX_DEPTH => ByteOutput::Null,
            (before, now) if before.max(now) > MAX_DEPTH => ByteOutput::Omitted,
            _ => ByteOutput::Unchanged,
        }
    }
}

/// The output for a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByteOutput {
    Unchanged,
    Null,
    Omitted,
}

impl ByteOutput {
    fn bytes(self, byte: u8) -> impl Iterator<Item = u8> {
        let (text, own): (&[u8], _) = match self {
            Self::Unchanged => (b"", Some(byte)),
            Self::Null => (b"null", None),
            Self::Omitted => (b"", None),
        };
        text.iter().copied().chain(own)
    }
}

impl HttpBody for DepthLimitedBody {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(state) = &mut self.state else { return Poll::Ready(frame) };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|part| state.apply(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The length of removed parts is not known in advance.
        if self.state.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    /// Filters a text that arrives in parts of a given size.
    fn filtered(text: &str, size: usize) -> String {
        let mut state = DepthFilter::default();
        let parts = text.as_bytes().chunks(size).map(|part| state.apply(Bytes::copy_from_slice(part)));
        String::from_utf8(parts.flat_map(|part| part.to_vec()).collect()).unwrap()
    }

    #[test]
    fn deep_nesting_becomes_null() {
        let cut = nested(MAX_DEPTH).replace('1', "null");
        for (text, expected) in [
            (nested(MAX_DEPTH), nested(MAX_DEPTH)),
            (nested(MAX_DEPTH + 1), cut.clone()),
            (nested(100_000), cut.clone()),
            (
                format!("{}{}{}", "[".repeat(MAX_DEPTH), r#"1,{"b":["]"]},[2],3"#, "]".repeat(MAX_DEPTH)),
                format!("{}{}{}", "[".repeat(MAX_DEPTH), "1,null,null,3", "]".repeat(MAX_DEPTH)),
            ),
            // The next event of a watch is not affected.
            (format!("{}\n{{}}\n", nested(100_000)), format!("{cut}\n{{}}\n")),
            (
                format!(r#"["{}","\"[[\\"]"#, "[{".repeat(1000)),
                format!(r#"["{}","\"[[\\"]"#, "[{".repeat(1000)),
            ),
        ] {
            for size in [1, 7, usize::MAX] {
                assert_eq!(filtered(&text, size), expected, "{size}");
            }
            let first = expected.lines().next().unwrap();
            assert!(serde_json::from_str::<Value>(first).is_ok(), "{first}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_is_not_nested_deeply_is_not_changed(text in ".{0,60}", size in 1_usize..70) {
            let json = serde_json::json!({"a": [text.clone(), {text.clone(): [[]]}]}).to_string();
            prop_assert_eq!(filtered(&json, size), json);
        }
    }

    #[test]
    fn custom_resources_are_unbounded_and_built_in_kinds_are_not() {
        for (path, expected) in [
            ("/apis/operator.kyma-project.io/v1alpha2/istios", true),
            ("/apis/networking.istio.io/v1/namespaces/a/virtualservices/b", true),
            ("/apis/apps/v1/deployments", false),
            ("/apis/rbac.authorization.k8s.io/v1/clusterroles", false),
            ("/api/v1/pods", false),
            ("/version", false),
        ] {
            assert_eq!(is_unbounded(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn the_body_of_a_custom_resource_is_cut_as_it_arrives() {
        for (path, levels) in [("/apis/networking.istio.io/v1/gateways", MAX_DEPTH), ("/api/v1/pods", 5000)] {
            let mut body = DepthLimitedBody::new(Body::from(nested(5000).into_bytes()), path);
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let text = frame.unwrap().unwrap().into_data().unwrap();
            assert_eq!(str::from_utf8(&text).unwrap().matches('{').count(), levels, "{path}");
        }
    }
}
