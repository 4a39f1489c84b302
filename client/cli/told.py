"""What the daemon tells, as the documents that `--json` prints; their schemas are in docs/."""

from typing import Any

from icehouse.client.cli.ask import text_of
from icehouse.client.cli.words import Process, date_text
from icehouse.store.wire import messages


def of_object(told: messages.Object) -> dict[str, Any]:
    """Tell of an image."""
    return {
        "handle": text_of(told.handle),
        "type": told.type,
        "size": told.size,
        "block": told.block,
        "state": told.state,
        "created": date_text(told.created_ns / 1e9),
        "expires": date_text(told.expires_ns / 1e9),
        "names": list(told.names),
        "names_total": told.names_total,
        "leases": told.leases,
        "links": told.links,
        "linked": told.linked,
        "dedicated": told.dedicated,
        "sealed": told.sealed,
        "pinned": told.pinned,
        "evictable": told.evictable,
        "pid": told.pid or None,
        "uid": told.uid,
        "segment": told.segment,
    }


def of_client(told: messages.Client) -> dict[str, Any]:
    """Tell of a process that uses the store."""
    return {
        "pid": told.pid,
        "command": Process(told.pid).command,
        "uid": told.uid,
        "gid": told.gid,
        "role": told.role,
        "session": told.session,
        "family": told.family,
        "member": told.member,
        "connected": told.connected,
        "opened": date_text(told.opened),
        "segments": told.segments,
        "bytes": told.bytes,
        "leases": told.leases,
        "waiting": told.waiting,
        "puts": told.puts,
        "put_bytes": told.put_bytes,
        "opens": told.opens,
        "maps": told.maps,
        "fulls": told.fulls,
    }


def of_segment(told: messages.Segment) -> dict[str, Any]:
    """Tell of a segment."""
    return {
        "id": told.id,
        "kind": told.kind,
        "state": told.state,
        "bytes": told.bytes,
        "images": told.images,
        "image_bytes": told.image_bytes,
        "dying": told.dying,
        "dying_bytes": told.dying_bytes,
        "free_bytes": told.free_bytes,
        "largest_free": told.largest_free,
        "pid": told.pid or None,
        "uid": told.uid,
        "session": told.session or None,
        "evictable": told.evictable,
        "sealed": told.sealed,
    }


def of_name(told: messages.Name) -> dict[str, Any]:
    """Tell of a name."""
    return {"name": told.name, "handle": text_of(told.handle), "version": told.version}


def of_process(pid: int, holds: str) -> dict[str, Any]:
    """Tell of a process that holds an image: `reads` or `produced` it."""
    process = Process(pid)
    return {
        "pid": pid,
        "holds": holds,
        "user": process.user,
        "command": process.command,
        "started": date_text(process.started),
    }
