"""What the SDK raised, in one sentence and with a remedy; or nothing, when it is worth another try.

Comes in: an exception of botocore, urllib3 or the system. Goes out: a ``StoreError``, or None for "it may pass". Pure:
it decides, ``s3_calls`` waits. The provider's own message is never repeated: some hold keys or signed addresses.
Codes: Amazon S3 API Reference, "Error responses"; those of Ceph and MinIO where they differ.
"""

from __future__ import annotations

from typing import Any

from bucketline.store.base import Changed, Exists, NotFound, StoreError, StoreFull, StoreUnavailable

__all__ = ["code_of", "explain", "given_up"]

_ABSENT = {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507", "StorageFull"}
_PASSES = {
    "SlowDown", "RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "Throttling",
    "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "BandwidthLimitExceeded", "OperationAborted",
    "ConditionalRequestConflict", "XMinioServerNotInitialized", "429",
}  # fmt: skip
_PASSING_EXCEPTIONS = {
    "ConnectionError", "HTTPClientError", "IncompleteReadError", "CredentialRetrievalError", "MetadataRetrievalError",
}  # fmt: skip
_ELSEWHERE = {
    "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307", "400",
}  # fmt: skip
_SENTENCES = {
    "NoSuchBucket": "There is no bucket {bucket!r} at {endpoint}; create it or correct the store's address.",
    "InvalidBucketName": "{bucket!r} cannot be the name of a bucket; correct the store's address.",
    "InvalidAccessKeyId": "{endpoint} does not know the access key used for bucket {bucket!r}; check AWS_ACCESS_KEY_ID "
    "or the profile, and that they belong to this endpoint.",
    "SignatureDoesNotMatch": "{endpoint} rejects the signature for bucket {bucket!r}; check AWS_SECRET_ACCESS_KEY.",
    "ExpiredToken": "The credentials for bucket {bucket!r} have expired; get new ones and try again.",
    "InvalidToken": "The session token for bucket {bucket!r} is not valid; check AWS_SESSION_TOKEN.",
    "RequestTimeTooSkewed": "This machine's clock is wrong by more than {endpoint} allows (bucket {bucket!r}); set it.",
    "NoCredentialsError": "There are no credentials for bucket {bucket!r}; set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, a profile, or a role.",
    "PartialCredentialsError": "The credentials for bucket {bucket!r} are incomplete; set both AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY.",
    "ProfileNotFound": "The profile in AWS_PROFILE, wanted for bucket {bucket!r}, is in no configuration file.",
    "NoRegionError": "The region of bucket {bucket!r} is unknown; set AWS_DEFAULT_REGION.",
    "SSLError": "The certificate of {endpoint} (bucket {bucket!r}) is not trusted; set AWS_CA_BUNDLE or correct it.",
    "InvalidEndpoint": "The endpoint for bucket {bucket!r} is no address; check AWS_ENDPOINT_URL_S3.",
    "KeyTooLongError": "The object's name is too long for bucket {bucket!r}: at most 1,024 bytes.",
    "NoSuchUpload": "The upload to bucket {bucket!r} was ended by somebody else, perhaps by a life-cycle rule.",
    "InvalidPart": "The bucket {bucket!r} refuses the parts of an upload; some stores want all parts equal: name the "
    "object's size beforehand.",
    "EntityTooLarge": "The bucket {bucket!r} refuses an object of this size.",
    "EntityTooSmall": "The bucket {bucket!r} refuses parts of this size; it wants larger ones.",
}
_SENTENCES["UnauthorizedAccess"] = _SENTENCES["InvalidAccessKeyId"]
_SENTENCES["TokenRefreshRequired"] = _SENTENCES["ExpiredToken"]
_SENTENCES["ExpiredTokenException"] = _SENTENCES["ExpiredToken"]
_OF_THE_OBJECT = {"KeyTooLongError", "NoSuchUpload", "InvalidPart", "EntityTooLarge", "EntityTooSmall"}
_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "CopyObject": "PutObject"}


def code_of(error: BaseException) -> tuple[str, int]:
    """The store's code and HTTP status, or the exception's own name and 0."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    if "Error" in response:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return str(response["Error"].get("Code", status)), int(status)
    return type(error).__name__, 0


def explain(error: BaseException, bucket: str, endpoint: str, key: str) -> StoreError | None:
    """The error for good, or None when trying again may help."""
    code, status = code_of(error)
    operation = getattr(error, "operation_name", "a call")
    if code in _ABSENT:
        return NotFound(f"There is no object {key!r} in bucket {bucket!r}.")
    if status == 412:
        if operation in ("PutObject", "CompleteMultipartUpload"):
            return Exists(f"The object {key!r} is already in bucket {bucket!r}.")
        return Changed(f"The object {key!r} in bucket {bucket!r} was replaced while it was in use.")
    if code in _FULL or status == 507:
        return StoreFull(f"The bucket {bucket!r} has no room for {key!r} ({code}); free some or raise its quota.")
    if code in _SENTENCES:
        kind = StoreError if code in _OF_THE_OBJECT else StoreUnavailable
        return kind(_SENTENCES[code].format(bucket=bucket, endpoint=endpoint))
    if _passes(error, code, status):
        return None
    if status in (401, 403):
        action = _ACTIONS.get(operation, operation)
        return StoreUnavailable(
            f"The bucket {bucket!r} at {endpoint} refuses {operation} ({code}); allow s3:{action} to these credentials."
        )
    if code in _ELSEWHERE:
        return StoreUnavailable(
            f"The bucket {bucket!r} at {endpoint} refuses {operation} ({code}); check its region and AWS_DEFAULT_REGION."
        )
    if code.startswith("KMS."):
        return StoreUnavailable(f"The encryption key of bucket {bucket!r} cannot be used ({code}); check its policy.")
    return StoreError(f"The bucket {bucket!r} at {endpoint} answered {operation} on {key!r} with {code}.")


def _passes(error: BaseException, code: str, status: int) -> bool:
    if status:
        return (status >= 500 and status != 501) or code in _PASSES
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & _PASSING_EXCEPTIONS) or isinstance(error, OSError) or "urllib3" in type(error).__module__


def given_up(error: BaseException, bucket: str, endpoint: str, waited_s: float) -> StoreUnavailable:
    """What is said when patience has run out."""
    code, status = code_of(error)
    waited = f" for {waited_s:.0f} s" if waited_s >= 1 else ""
    if status:
        return StoreUnavailable(f"The bucket {bucket!r} at {endpoint} answered {code}{waited}; try again later.")
    return StoreUnavailable(
        f"The store at {endpoint} (bucket {bucket!r}) could not be reached{waited} ({code}); check AWS_ENDPOINT_URL_S3 "
        "and the network."
    )
