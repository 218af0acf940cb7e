"""Every way in which Airlock itself says no.

    AirlockError
    ├── Refused                     the request is at fault; nothing was accepted
    │   ├── InvalidRequest          a part is missing, unknown, malformed or contradicts another
    │   ├── Unauthorized            no API key, or not a live one
    │   ├── Forbidden               the key's scopes do not cover this
    │   │   ├── TenantSuspended     the key's tenant is suspended
    │   │   └── NeverAllowed        more than the tenant's whole quota: it can never be given
    │   ├── NotFound                no such thing, or another tenant's: the two answers are the same
    │   ├── Gone                    it was there, and was removed
    │   ├── Conflict                the thing is not in a state that allows this
    │   ├── ConditionFailed         the request was to be done only in another state (If-Match, If-None-Match)
    │   ├── TooLarge                a body, a part or a script is over its limit
    │   ├── UnsupportedFormat       the content type of what was sent is none that is read
    │   ├── NotAcceptable           none of the formats asked for can be given
    │   ├── ConversionFailed        the result cannot be written in the format asked for
    │   ├── ScriptFailed            a call of an endpoint, whose script failed: the answer is the script's error
    │   ├── TooManyRuns             a queue is full; try later
    │   └── QuotaSpent              a tenant has had its share; try later
    │       └── TooManyRequests     of requests a second
    └── Unavailable                 the server cannot do it now, though it would
        ├── StorageFull             the data directory's disk is full
        ├── StorageFailed           it cannot be written: read-only, or broken
        ├── Busy                    as many requests as may are waiting for something already
        ├── LoginUnavailable        the issuer of people's logins does not answer
        ├── Draining                the operator lets the server come to rest: nothing new is accepted
        ├── Maintenance             likewise, for the reason that the operator gives
        ├── BackupUnusable          a backup is not whole, or cannot be made (only `airlock admin` meets it)
        ├── Throttled               as many calls of this endpoint as may are at work
        ├── EndpointOff             the endpoint is switched off
        ├── CallTimeout             a call did not end in the time that a request may wait
        ├── ReceiptKeyUnusable      the key that signs receipts is damaged (only `airlock serve` meets it)
        ├── DataInUse               another server holds the data directory (only `airlock serve` meets it)
        ├── StoreError              the database does not answer
        └── EngineError             the container engine failed to do what it was asked
            ├── EngineUnavailable   it does not answer
            └── ImageMissing        the environment's image is not there

A failing *script* is none of these: it is a value (model.Outcome). Only who calls an endpoint gets it as an error,
because the table that was asked for is not there.
"""

from __future__ import annotations


class AirlockError(Exception):
    """Base of the tree. `code` is stable and documented in docs/errors.md; the message is for people."""

    code = "internal_error"
    title = "Airlock failed"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        limit: float | None = None,
        value: float | None = None,
        used: float | None = None,
        quota: str | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        """`quota` names the limit, `value` is what was asked for and `used` what there is of it already;
        `retry_seconds`: when it makes sense to ask again, where that is known."""
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.limit = limit
        self.value = value
        self.used = used
        self.quota = quota
        self.retry_seconds = retry_seconds


class Refused(AirlockError):
    code = "refused"
    title = "The request was refused"


class InvalidRequest(Refused):
    """`errors` names each faulty place: a list of {"where", "message"}."""

    code = "invalid_request"
    title = "The request is not valid"

    def __init__(self, detail: str, *, errors: list[dict[str, str]] | None = None, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.errors = errors or []


class Unauthorized(Refused):
    code = "unauthorized"
    title = "A valid API key is needed"


class Forbidden(Refused):
    code = "forbidden"
    title = "The API key does not allow this"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"
    title = "The tenant is suspended"


class NeverAllowed(Forbidden):
    code = "quota_too_small"
    title = "More than the tenant's whole quota"


class NotFound(Refused):
    code = "not_found"
    title = "There is no such thing"


class Gone(Refused):
    code = "removed"
    title = "It was removed"


class Conflict(Refused):
    code = "conflict"
    title = "Not possible in the present state"


class ConditionFailed(Refused):
    code = "precondition_failed"
    title = "The request's condition does not hold"


class TooLarge(Refused):
    code = "too_large"
    title = "Too large"


class UnsupportedFormat(Refused):
    code = "unsupported_format"
    title = "The content type is not supported"


class NotAcceptable(Refused):
    code = "not_acceptable"
    title = "None of the accepted formats can be given"


class ConversionFailed(Refused):
    code = "conversion_failed"
    title = "The table cannot be written in this format"


class ScriptFailed(Refused):
    """`code` is the run's reason (model.Reason), `error` what it says (model.ScriptError as JSON)."""

    code = "script_error"
    title = "The script failed"

    def __init__(self, detail: str, *, code: str | None = None, error: dict[str, object] | None = None) -> None:
        super().__init__(detail, code=code)
        self.error = error or {}


class TooManyRuns(Refused):
    code = "too_many_runs"
    title = "Too many runs"


class QuotaSpent(Refused):
    code = "quota_spent"
    title = "The tenant has had its share"


class TooManyRequests(QuotaSpent):
    code = "too_many_requests"
    title = "Too many requests"


class Unavailable(AirlockError):
    code = "unavailable"
    title = "The server cannot do this now"


class StorageFull(Unavailable):
    code = "storage_full"
    title = "The server's disk is full"


class StorageFailed(Unavailable):
    code = "storage_failed"
    title = "The server's disk does not work"


class Busy(Unavailable):
    code = "busy"
    title = "Too many requests are waiting"


class LoginUnavailable(Unavailable):
    code = "login_unavailable"
    title = "Logins cannot be checked now"


class Draining(Unavailable):
    code = "draining"
    title = "The server is coming to rest"


class Maintenance(Unavailable):
    code = "maintenance"
    title = "The server is being maintained"


class BackupUnusable(Unavailable):
    code = "backup_unusable"
    title = "The backup cannot be made or used"


class Throttled(Unavailable):
    code = "request_throttled"
    title = "Too many calls at once"


class EndpointOff(Unavailable):
    code = "endpoint_off"
    title = "The endpoint is switched off"


class CallTimeout(Unavailable):
    code = "call_timeout"
    title = "The call took too long"


class DataInUse(Unavailable):
    code = "data_in_use"
    title = "The data directory is in use"


class ReceiptKeyUnusable(Unavailable):
    code = "receipt_key_unusable"
    title = "The key that signs receipts cannot be used"


class StoreError(Unavailable):
    code = "store_error"
    title = "The database does not answer"


class EngineError(Unavailable):
    code = "engine_error"
    title = "The container engine failed"


class EngineUnavailable(EngineError):
    code = "engine_unavailable"
    title = "The container engine does not answer"


class ImageMissing(EngineError):
    code = "image_missing"
    title = "The sandbox image is missing"
