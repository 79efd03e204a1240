"""Completes and checks the bill of materials that cargo-cyclonedx generates. Called by tools/sbom.sh.

cargo-cyclonedx knows crates only. Added here is what else is in the program: Istio's charts, Rust's standard library and the
C library. It also lists optional crates that other members of the workspace switch on; they are removed. The result is checked against the schema of CycloneDX 1.5, and against the list of the crates that are linked.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# How cargo-cyclonedx refers to what lies in the folder it ran in.
WORKSPACE = "file:///istio-manager"


def main() -> None:
    arguments = parse_arguments()
    generated = Path(arguments.generated).read_text(encoding="utf-8")
    # The folder has a random name.
    document = json.loads(generated.replace(f"file://{arguments.workspace}", WORKSPACE))
    keep_only(document, crates(arguments.used))
    added = charts(Path(arguments.charts)) + runtime(arguments.toolchain, arguments.libc)
    add(document, added)
    text = json.dumps(document, indent=2, sort_keys=True)
    problems = schema_problems(text)
    problems += [f"{name} {version} is linked, but missing" for name, version in missing(document, crates(arguments.linked))]
    if problems:
        sys.exit("the bill of materials is not usable:\n" + "\n".join(problems))
    print(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["generated", "workspace", "linked", "used", "charts", "toolchain", "libc"]:
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


def charts(bundle: Path) -> list[dict]:
    """One component for each embedded chart, and one for the profiles."""
    version = bundle.name
    folders = sorted(path.parent for path in bundle.glob("charts/**/Chart.yaml")) + [bundle / "profiles"]
    if len(folders) < 2:
        sys.exit(f"no charts in {bundle}: run 'make charts'")
    kind, _, source = (bundle / "source").read_text(encoding="utf-8").strip().partition(" ")
    return [chart(folder.relative_to(bundle).as_posix(), version, source if kind == "module" else None) for folder in folders]


def chart(path: str, version: str, module: str | None) -> dict:
    """Charts of the pinned module are found by it. Others, of ISTIO_CHARTS_DIR, have no public address."""
    name = "istio-" + path.replace("/", "-")
    purl = f"pkg:golang/{module}#manifests/{path}" if module else f"pkg:generic/{name}@{version}"
    return component(name, version, purl, "data", "Apache-2.0")


def runtime(toolchain: str, libc: str) -> list[dict]:
    """What the linker adds on its own."""
    name, _, version = libc.partition(" ")
    return [
        component("rust-std", toolchain, f"pkg:generic/rust-std@{toolchain}", "library", "MIT OR Apache-2.0"),
        component(name, version, f"pkg:generic/{name}@{version}", "library", "LGPL-2.1-or-later"),
    ]


def component(name: str, version: str, purl: str, kind: str, license: str) -> dict:
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": "required",
        "licenses": [{"expression": license}],
        "purl": purl,
    }


def add(document: dict, components: list[dict]) -> None:
    """Adds components as direct dependencies of the program."""
    document["components"] += components
    root = document["metadata"]["component"]["bom-ref"]
    references = [component["bom-ref"] for component in components]
    for dependency in document["dependencies"]:
        if dependency["ref"] == root:
            dependency["dependsOn"] = sorted(set(dependency.get("dependsOn", []) + references))
    document["dependencies"] += [{"ref": reference} for reference in references]


def keep_only(document: dict, used: set[tuple[str, str]]) -> None:
    """Removes crates that are not part of the build of the program."""
    unused = {entry["bom-ref"] for entry in document["components"] if (entry["name"], entry["version"]) not in used}
    document["components"] = [entry for entry in document["components"] if entry["bom-ref"] not in unused]
    document["dependencies"] = [entry for entry in document["dependencies"] if entry["ref"] not in unused]
    for dependency in document["dependencies"]:
        if "dependsOn" in dependency:
            dependency["dependsOn"] = [reference for reference in dependency["dependsOn"] if reference not in unused]


def crates(path: str) -> set[tuple[str, str]]:
    """Names and versions in lines such as `serde v1.0.228` or `gotemplate v0.1.0 (/path)`."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {re.match(r"(\S+) v(\S+)", line).groups() for line in lines}


def missing(document: dict, crates: set[tuple[str, str]]) -> list[tuple[str, str]]:
    listed = document["components"] + [document["metadata"]["component"]]
    return sorted(crates - {(entry["name"], entry["version"]) for entry in listed if entry.get("scope") == "required"})


def schema_problems(text: str) -> list[str]:
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    return [] if error is None else [str(error)]


main()
