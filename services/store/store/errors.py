"""What can go wrong inside the store. Foreign exceptions are translated at one boundary, `database.py`.

StoreError
├── DatabaseUnavailable   Postgres did not answer in time or refused us; the same work may be tried again later
├── DataRefused           Postgres refused a value or a constraint; trying again cannot help
├── MigrationRefused      the schema and the migrations on disk do not fit together
├── BrokerUnavailable     a command could not be handed to the broker
└── EventsUnavailable     a message could not be put back into its stream
"""


class StoreError(Exception):
    """Anything the store itself reports."""


class DatabaseUnavailable(StoreError):
    """Postgres did not answer in time or refused us; the same work may be tried again later."""


class DataRefused(StoreError):
    """Postgres refused a value or a constraint; trying again cannot help."""


class MigrationRefused(StoreError):
    """The schema in the database and the migrations on disk do not fit together."""


class BrokerUnavailable(StoreError):
    """A command could not be handed to the broker; nobody knows whether it left."""


class EventsUnavailable(StoreError):
    """A message could not be put back into its stream; nobody knows whether it is there."""
