"""No index entries for notifications without a batch, a template or a user: each cost an accept some work."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = ("batch_id", "template_name", "user_id")


def upgrade() -> None:
    for column in _COLUMNS:
        given = sa.text(f"{column} IS NOT NULL")
        op.drop_index(f"ix_notifications_{column}", table_name="notifications")
        op.create_index(
            f"ix_notifications_{column}", "notifications", [column], sqlite_where=given, postgresql_where=given
        )


def downgrade() -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_notifications_{column}", table_name="notifications")
        op.create_index(f"ix_notifications_{column}", "notifications", [column])
