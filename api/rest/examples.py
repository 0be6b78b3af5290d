"""The examples in the OpenAPI document: one story, of Ann who registers and gets her mail."""

from typing import Any

USER_ID = "0190a3c8-5c1e-7d2a-9b60-2f4c8e1a7b01"
NOTIFICATION_ID = "0190a3c8-5c1f-7a94-8c11-6d0b3e5f9a02"
KEY_ID = "0190a3c8-4b10-7c3d-a5f2-1e9d7c6b5a03"
MAIL_ID = "0190a3c8-5f42-7b8e-b3d4-9a8c7b6d5e04"
BATCH_ID = "0190a3c8-6a20-7e1f-8d15-3b7c9e2f4a05"
BASE = "http://127.0.0.1:8000"
CURSOR = "AZCjyFwefSqbYC9MjhqXAddhz00c"
REGISTERED_AT = "2027-01-01T09:00:00.000Z"

LEAST_USER_IN = {"username": "ann", "email": "ann@example.org"}
USER_IN = {**LEAST_USER_IN, "name": "Ann Example", "locale": "en", "metadata": {"plan": "basic"}}
USER = {"id": USER_ID, **USER_IN, "created_at": REGISTERED_AT, "updated_at": REGISTERED_AT}
USER_CHANGE = {"name": "Ann Smith", "locale": None}
REGISTERED = {
    **USER,
    "known": False,
    "notifications": [
        {
            "id": NOTIFICATION_ID,
            "template": "welcome",
            "status": "queued",
            "url": f"{BASE}/v1/notifications/{NOTIFICATION_ID}",
        }
    ],
}
REGISTERED_SILENTLY = {**USER, "known": False, "notifications": []}
KNOWN = {**USER, "known": True, "notifications": []}
USER_PAGE = {"data": [USER], "next": CURSOR}

FROM_TEMPLATE = {
    "to": ["ann@example.org"],
    "template": "welcome",
    "data": {"user": {"username": "ann", "name": "Ann Example", "email": "ann@example.org"}},
    "tags": ["onboarding"],
}
WRITTEN_OUT = {
    "to": [{"email": "ann@example.org", "name": "Ann Example"}],
    "cc": "bob@example.org",
    "subject": "Your order 7 is on its way",
    "text": "It left our house this morning.\n",
    "html": "<p>It left our house this morning.</p>\n",
    "metadata": {"order": "7"},
}
WITH_EVERYTHING = {
    "to": {"user_id": USER_ID},
    "reply_to": "orders@example.org",
    "subject": "Your invoice",
    "text": "The invoice is attached.\n",
    "html": '<img src="cid:logo" alt="Example"><p>The invoice is attached.</p>\n',
    "attachments": [
        {"filename": "invoice.pdf", "content_type": "application/pdf", "content": "JVBERi0xLjcK"},
        {
            "filename": "logo.gif",
            "content_type": "image/gif",
            "content": "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=",
            "content_id": "logo",
        },
    ],
    "headers": {"X-Order": "7"},
    "send_at": "2027-01-01T12:00:00Z",
    "expires_at": "2027-01-02T12:00:00Z",
}
QUEUED: dict[str, Any] = {
    "id": NOTIFICATION_ID,
    "url": f"{BASE}/v1/notifications/{NOTIFICATION_ID}",
    "status": "queued",
    "created_at": REGISTERED_AT,
    "send_at": None,
    "expires_at": None,
    "finished_at": None,
    "subject": "Welcome, Ann Example",
    "template": {"name": "welcome", "version": "b062291911b3"},
    "tags": ["onboarding"],
    "metadata": {},
    "batch_id": None,
    "message_id": f"<{NOTIFICATION_ID}@example.org>",
    "deliveries": [
        {
            "recipient": "ann@example.org",
            "kind": "to",
            "status": "queued",
            "attempts": 0,
            "next_attempt_at": REGISTERED_AT,
            "possible_duplicate": False,
            "history": [],
        }
    ],
}
NOTIFICATION = {
    **QUEUED,
    "status": "deferred",
    "deliveries": [
        {
            **QUEUED["deliveries"][0],
            "status": "deferred",
            "attempts": 1,
            "next_attempt_at": "2027-01-01T09:05:20.250Z",
            "history": [
                {
                    "at": "2027-01-01T09:00:00.250Z",
                    "transport": "default",
                    "outcome": "deferred",
                    "phase": "rcpt",
                    "code": 450,
                    "enhanced_code": "4.2.0",
                    "reply": "greylisted",
                    "duration_ms": 31,
                }
            ],
        }
    ],
}
NOTIFICATION_PAGE = {"data": [NOTIFICATION], "next": None}

BATCH = {
    "template": "welcome",
    "messages": [
        {"to": "ann@example.org", "data": FROM_TEMPLATE["data"]},
        {
            "to": {"email": "bob@example.org", "name": "Bob"},
            "data": {"user": {"username": "bob", "name": "Bob", "email": "bob@example.org"}},
        },
    ],
    "on_error": "accept_valid",
}
PLAIN_BATCH = {
    "subject": "The house is closed on Friday",
    "text": "We are back on Monday.\n",
    "messages": [{"to": "ann@example.org"}, {"to": "bob@example.org"}],
}
BATCH_STANDING: dict[str, Any] = {
    "id": BATCH_ID,
    "url": f"{BASE}/v1/batches/{BATCH_ID}",
    "created_at": REGISTERED_AT,
    "total": 2,
    "counts": {
        "queued": 1,
        "sending": 0,
        "deferred": 0,
        "sent": 1,
        "failed": 0,
        "cancelled": 0,
        "expired": 0,
        "suppressed": 0,
    },
    "progress": 0.5,
}
BATCH_QUEUED = {
    **BATCH_STANDING,
    "total": 1,
    "counts": {**BATCH_STANDING["counts"], "sent": 0},
    "progress": 0.0,
    "results": [
        {"index": 0, "id": NOTIFICATION_ID},
        {
            "index": 1,
            "id": None,
            "errors": [
                {
                    "pointer": "/messages/1/data/user",
                    "detail": "The template needs 'user'.",
                    "code": "missing_variable",
                }
            ],
        },
    ],
}
BATCH_CANCELLED = {
    **BATCH_STANDING,
    "counts": {**BATCH_STANDING["counts"], "queued": 0, "cancelled": 1},
    "progress": 1.0,
}

PREVIEW_IN = {"data": FROM_TEMPLATE["data"]}
PREVIEW = {"subject": "Welcome, Ann Example", "text": "Welcome, Ann Example\n…", "html": "<!doctype html>\n…"}
TEMPLATE = {
    "name": "welcome",
    "version": "b062291911b3",
    "variables": ["user", "user.email", "user.name", "user.username"],
    "locales": [],
    "has_subject": True,
    "example": FROM_TEMPLATE["data"],
}
TEMPLATE_PAGE = {"data": [TEMPLATE], "next": None}

KEY_IN = {"name": "web shop", "scopes": ["users:write", "notifications:write", "notifications:read"]}
KEY = {
    "id": KEY_ID,
    **KEY_IN,
    "hint": "x8Qz",
    "mode": "live",
    "origins": None,
    "templates": None,
    "created_at": REGISTERED_AT,
    "revoked_at": None,
}
BROWSER_KEY_IN = {"name": "sign-up page", "origins": ["https://app.example.org"], "templates": ["welcome"]}
NEW_KEY = {**KEY, "key": "pr_live_<30 characters and a checksum>"}
KEY_PAGE = {"data": [KEY], "next": None}

MAIL = {
    "id": MAIL_ID,
    "from": "postroom@example.org",
    "to": ["ann@example.org"],
    "subject": "Welcome, Ann Example",
    "received_at": REGISTERED_AT,
}
OPENED = {
    **MAIL,
    "headers": [
        {"name": "Subject", "value": "Welcome, Ann Example"},
        {"name": "To", "value": "Ann Example <ann@example.org>"},
    ],
    "text": "Welcome, Ann Example\n…",
    "html": "<!doctype html>\n…",
    "attachments": [],
    "raw": "Subject: Welcome, Ann Example\r\n…",
    "raw_encoding": "utf-8",
}
INBOX_PAGE = {"data": [MAIL], "next": None}

TRANSPORTS = {
    "data": [
        {
            "name": "default",
            "state": "paused",
            "since": REGISTERED_AT,
            "next_probe_at": "2027-01-01T09:00:05.000Z",
            "last_error": {"at": REGISTERED_AT, "phase": "connect", "code": None, "reply": "connection refused"},
        }
    ]
}

READY = {
    "status": "ready",
    "checks": {
        "database": {"ok": True, "detail": "The database can be written."},
        "dispatcher": {"ok": True, "detail": "The dispatcher of this process runs."},
        "relay": {"ok": True, "detail": "Mail goes out as far as is known."},
    },
}
NOT_READY = {
    "type": "about:blank",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "dispatcher: The dispatcher of this process does not run.",
    "instance": "/readyz",
    "checks": {
        **READY["checks"],  # type: ignore[dict-item]
        "dispatcher": {"ok": False, "detail": "The dispatcher of this process does not run."},
    },
}
