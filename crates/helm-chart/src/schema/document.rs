//! A schema as a document: the resources in it, and where references lead.
//!
//! A resource is a schema with an address of its own (`$id`), against which the references below it are resolved.

use super::shape::{self, below};
use super::{DEPTH_LIMIT, Draft};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The address that Helm gives to the file.
const FILE: &str = "file:///values.schema.json";

pub(super) struct Document<'s> {
    /// The first one is the document itself.
    resources: Vec<Resource<'s>>,
    /// The resource that a schema belongs to.
    owners: HashMap<*const Value, usize>,
}

struct Resource<'s> {
    address: String,
    schema: &'s Value,
    draft: Draft,
    anchors: BTreeMap<&'s str, &'s Value>,
    dynamic_anchors: BTreeMap<&'s str, &'s Value>,
}

/// What a reference leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'s> {
    /// A schema, with the resource that it belongs to.
    Schema(&'s Value, usize),
    /// Properties of a draft.
    Draft(Draft),
    /// A name (`urn:`), behind which Helm looks up nothing and allows everything.
    Anything,
}

type Read<T> = Result<T, String>;

impl<'s> Document<'s> {
    /// Finds the resources and anchors of a schema, and makes sure that its references lead somewhere: those that are
    /// reached. A schema that is only among definitions is never visited.
    pub(super) fn read(root: &'s Value, draft: Draft) -> Read<Self> {
        let mut document = Self { resources: Vec::new(), owners: HashMap::new() };
        document.collect(root, 0, draft, 0)?;
        document.follow_references()?;
        Ok(document)
    }

    pub(super) fn root(&self) -> &'s Value {
        self.root_of(0)
    }

    pub(super) fn root_of(&self, resource: usize) -> &'s Value {
        self.resources.get(resource).map_or(&Value::Null, |resource| resource.schema)
    }

    pub(super) fn draft(&self, resource: usize) -> Draft {
        self.resources.get(resource).map_or(Draft::Year2020, |resource| resource.draft)
    }

    pub(super) fn resource_of(&self, schema: &Value) -> Option<usize> {
        self.owners.get(&std::ptr::from_ref(schema)).copied()
    }

    pub(super) fn dynamic_anchor(&self, resource: usize, name: &str) -> Option<&'s Value> {
        self.resources.get(resource)?.dynamic_anchors.get(name).copied()
    }

    /// Where a reference in a resource leads; `None` when it leads nowhere, or to a document elsewhere.
    pub(super) fn resolve(&self, from: usize, reference: &str) -> Option<Target<'s>> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let address = join(&self.resources.get(from)?.address, address);
        let found = if address == FILE {
            Some(0)
        } else {
            self.resources.iter().position(|resource| resource.address == address)
        };
        let Some(found) = found else {
            let is_name = address.starts_with("urn:");
            let draft = Draft::named(&address).filter(|_| fragment.is_empty());
            return draft.map(Target::Draft).or_else(|| is_name.then_some(Target::Anything));
        };
        let fragment = decoded(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.at_path(found, &fragment);
        }
        let schema = self.resources.get(found)?.anchors.get(fragment.as_str())?;
        Some(Target::Schema(schema, found))
    }

    /// The schema at a path in a resource. It belongs to the innermost resource on the way.
    fn at_path(&self, resource: usize, path: &str) -> Option<Target<'s>> {
        let (mut schema, mut owner) = (self.resources.get(resource)?.schema, resource);
        for name in path.split('/').skip(1) {
            let name = name.replace("~1", "/").replace("~0", "~");
            schema = match schema {
                Value::Object(fields) => fields.get(&name)?,
                Value::Array(values) => values.get(name.parse::<usize>().ok()?)?,
                _ => return None,
            };
            let entered = self.resources.iter().position(|inner| std::ptr::eq(inner.schema, schema));
            owner = entered.unwrap_or(owner);
        }
        Some(Target::Schema(schema, owner))
    }

    /// Notes a schema of a resource, and all schemas below it.
    fn collect(&mut self, schema: &'s Value, owner: usize, draft: Draft, depth: usize) -> Read<()> {
        if depth > DEPTH_LIMIT {
            return Err("it is nested too deeply".to_owned());
        }
        let (owner, draft) = self.enter(schema, owner, draft)?;
        if self.owners.insert(std::ptr::from_ref(schema), owner).is_some() {
            return Ok(());
        }
        let Value::Object(keywords) = schema else { return Ok(()) };
        self.note_anchors(schema, keywords, owner, draft)?;
        below(keywords, draft)
            .into_iter()
            .try_for_each(|(schema, _)| self.collect(schema, owner, draft, depth + 1))
    }

    /// The resource that a schema belongs to: one of its own when it has an address or is the document.
    fn enter(&mut self, schema: &'s Value, owner: usize, draft: Draft) -> Read<(usize, Draft)> {
        let own = Draft::within(schema, draft);
        let address = own_address(schema, own);
        if address.is_none() && !self.resources.is_empty() {
            return Ok((owner, draft));
        }
        let base = self.resources.get(owner).map_or(FILE, |resource| resource.address.as_str());
        let address = join(base, address.unwrap_or_default());
        if self.resources.iter().any(|known| known.address == address && !std::ptr::eq(known.schema, schema))
        {
            return Err(format!("'{address}' is the address of two schemas"));
        }
        let (anchors, dynamic_anchors) = Default::default();
        self.resources.push(Resource { address, schema, draft: own, anchors, dynamic_anchors });
        Ok((self.resources.len() - 1, own))
    }

    fn note_anchors(
        &mut self,
        schema: &'s Value,
        keywords: &'s Map<String, Value>,
        owner: usize,
        draft: Draft,
    ) -> Read<()> {
        let text = |keyword: &str| keywords.get(keyword).and_then(Value::as_str);
        let Some(resource) = self.resources.get_mut(owner) else { return Ok(()) };
        let mut names = Vec::new();
        if draft >= Draft::Year2019 {
            names.extend(text("$anchor"));
        } else if !keywords.contains_key("$ref") {
            let name = text(id_keyword(draft)).and_then(|id| id.split_once('#')).map(|(_, name)| name);
            names.extend(name.filter(|name| !name.is_empty() && !name.starts_with('/')));
        }
        if let Some(name) = text("$dynamicAnchor").filter(|_| draft == Draft::Year2020) {
            names.push(name);
            resource.dynamic_anchors.insert(name, schema);
        }
        for name in names {
            if resource.anchors.insert(name, schema).is_some_and(|known| !std::ptr::eq(known, schema)) {
                return Err(format!("'{name}' is the anchor of two schemas"));
            }
        }
        Ok(())
    }

    fn follow_references(&mut self) -> Read<()> {
        let (mut pending, mut seen) = (vec![(self.root(), 0)], HashSet::new());
        while let Some((schema, owner)) = pending.pop() {
            if !seen.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            if self.resource_of(schema).is_none() {
                // It is not in a place for schemas.
                let draft = self.draft(owner);
                shape::check(schema, draft)?;
                self.collect(schema, owner, draft, 0)?;
            }
            let owner = self.resource_of(schema).unwrap_or(owner);
            let draft = self.draft(owner);
            let Value::Object(keywords) = schema else { continue };
            for reference in references(keywords, draft) {
                match self.resolve(owner, reference) {
                    Some(Target::Schema(target, owner)) => pending.push((target, owner)),
                    Some(Target::Draft(_) | Target::Anything) => {}
                    None => return Err(format!("the reference '{reference}' is not supported")),
                }
            }
            // Up to draft 7, nothing else counts beside a reference.
            if draft >= Draft::Year2019 || !keywords.contains_key("$ref") {
                let reached = below(keywords, draft).into_iter().filter(|(_, is_reached)| *is_reached);
                pending.extend(reached.map(|(schema, _)| (schema, owner)));
            }
        }
        Ok(())
    }
}

fn references(keywords: &Map<String, Value>, draft: Draft) -> impl Iterator<Item = &str> {
    let known = [
        ("$ref", true),
        ("$dynamicRef", draft == Draft::Year2020),
        ("$recursiveRef", draft == Draft::Year2019),
    ];
    known.into_iter().filter(|(_, counts)| *counts).filter_map(move |(name, _)| keywords.get(name)?.as_str())
}

fn id_keyword(draft: Draft) -> &'static str {
    if draft == Draft::Four { "id" } else { "$id" }
}

/// The address that a schema gives itself, without a fragment.
pub(super) fn own_address(schema: &Value, draft: Draft) -> Option<&str> {
    if draft < Draft::Year2019 && schema.get("$ref").is_some() {
        return None;
    }
    let id = schema.get(id_keyword(draft))?.as_str()?;
    let address = id.split_once('#').map_or(id, |(address, _)| address);
    (!address.is_empty()).then_some(address)
}

/// A reference seen from an address, by RFC 3986.
fn join(base: &str, reference: &str) -> String {
    let scheme = |text: &str| {
        let (scheme, _) = text.split_once(':')?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(fits))
            .then_some(scheme.len())
    };
    if reference.is_empty() || scheme(reference).is_some() {
        return if reference.is_empty() { base } else { reference }.to_owned();
    }
    let Some((origin, path)) = scheme(base).and_then(|end| {
        let authority = base.get(end + 1..)?.strip_prefix("//")?;
        let length = authority.find('/').unwrap_or(authority.len());
        Some(base.split_at(end + 3 + length))
    }) else {
        // A name has no places below it.
        return base.to_owned();
    };
    if reference.starts_with("//") {
        let end = scheme(base).unwrap_or_default();
        return format!("{}:{reference}", base.get(..end).unwrap_or_default());
    }
    let path = path.split('?').next().unwrap_or_default();
    if reference.starts_with('?') {
        return format!("{origin}{path}{reference}");
    }
    let folder = path.rfind('/').map_or("/", |end| path.get(..=end).unwrap_or("/"));
    let whole =
        if reference.starts_with('/') { reference.to_owned() } else { format!("{folder}{reference}") };
    format!("{origin}{}", without_dots(&whole))
}

fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let ends_in_folder = path.ends_with("/.") || path.ends_with("/..");
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{}", parts.join("/"), if ends_in_folder && !parts.is_empty() { "/" } else { "" })
}

/// A fragment without its percent signs.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn references_are_resolved_as_in_rfc_3986() {
        for (base, reference, address) in [
            ("file:///values.schema.json", "", "file:///values.schema.json"),
            ("file:///values.schema.json", "other.json", "file:///other.json"),
            ("https://example.com/a/b.json?x", "c/../d.json", "https://example.com/a/d.json"),
            ("https://example.com/a/b.json", "/c.json", "https://example.com/c.json"),
            ("https://example.com/a/b.json", "../../../c", "https://example.com/c"),
            ("https://example.com", "a", "https://example.com/a"),
            ("https://example.com/a/b.json", "//other.com/c", "https://other.com/c"),
            ("https://example.com/a/b.json", "?y", "https://example.com/a/b.json?y"),
            ("https://example.com/a", "urn:x:y", "urn:x:y"),
            ("urn:x:y", "a", "urn:x:y"),
        ] {
            assert_eq!(join(base, reference), address, "{base} {reference}");
        }
    }
}
