"""What can go wrong with an embedded stack.

StackError                 a sentence for the user that says what to do
├── AlreadyRunning         another stack, or another `up`, holds this home
├── PortTaken              a port that was asked for is in use
├── NotReady               the processes run, but do not serve; carries what was found
└── Interrupted            the caller asked to stop while we waited
"""


class StackError(Exception):
    """The stack cannot do what was asked; the message says why and what to do."""


class AlreadyRunning(StackError):
    """This home is held by a running stack."""


class PortTaken(StackError):
    """A port that the caller insists on is in use."""


class NotReady(StackError):
    """The stack did not become ready."""


class Interrupted(StackError):
    """A signal arrived while we waited."""
