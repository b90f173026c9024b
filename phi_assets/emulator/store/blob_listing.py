"""One page of a container's blobs, and its XML."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from phi_assets.emulator.store.blobs import BlobProperties

MOST = 5000
"""Entries of a page unless the client asks for fewer."""


@dataclass(frozen=True)
class Page:
    """Blobs and folders (`BlobPrefix`) of one answer; `next_marker` is empty on the last page."""

    entries: list[BlobProperties | str]
    next_marker: str


def page(blobs: Iterable[BlobProperties], *, prefix: str, delimiter: str, marker: str, most: int) -> Page:
    """The entries from `marker` on, at most `most`; with a delimiter, blobs below a folder become that folder."""
    entries: list[BlobProperties | str] = []
    previous = ""
    for blob in blobs:
        head, found, _ = blob.name[len(prefix) :].partition(delimiter) if delimiter else (blob.name, "", "")
        name = prefix + head + found if found else blob.name
        if name < marker or (found and name == previous):
            continue
        if len(entries) == min(most, MOST):
            return Page(entries, name)
        entries.append(name if found else blob)
        previous = name
    return Page(entries, "")


def document(listing: Page, container: str, query: dict[str, str], *, metadata: bool) -> bytes:
    """The answer's XML, in the form of https://learn.microsoft.com/rest/api/storageservices/list-blobs."""
    root = Element("EnumerationResults", {"ContainerName": container})
    for element, parameter in (("Prefix", "prefix"), ("Marker", "marker"), ("MaxResults", "maxresults")):
        if query.get(parameter):
            SubElement(root, element).text = query[parameter]
    if query.get("delimiter"):
        SubElement(root, "Delimiter").text = query["delimiter"]
    blobs = SubElement(root, "Blobs")
    for entry in listing.entries:
        if isinstance(entry, str):
            SubElement(SubElement(blobs, "BlobPrefix"), "Name").text = entry
        else:
            _add(blobs, entry, metadata=metadata)
    SubElement(root, "NextMarker").text = listing.next_marker
    return tostring(root, encoding="utf-8", xml_declaration=True)


def _add(parent: Element, blob: BlobProperties, *, metadata: bool) -> None:
    element = SubElement(parent, "Blob")
    SubElement(element, "Name").text = blob.name
    properties = SubElement(element, "Properties")
    modified = format_datetime(blob.modified.astimezone(UTC), usegmt=True)
    for name, value in {
        "Creation-Time": modified,
        "Last-Modified": modified,
        "Etag": blob.etag.strip('"'),
        "Content-Length": str(blob.size),
        "Content-Type": blob.content_type,
        "BlobType": "BlockBlob",
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
    }.items():
        SubElement(properties, name).text = value
    if metadata:
        entries = SubElement(element, "Metadata")
        for name, value in blob.metadata.items():
            SubElement(entries, name).text = value
