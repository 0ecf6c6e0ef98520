"""The one table of S3 errors: code, HTTP status and default message."""

from __future__ import annotations

from enum import Enum

IMMUTABLE_MESSAGE = (
    "Auto Drive storage is immutable. Objects cannot be deleted from the Autonomys DSN."
)


class ErrorCode(Enum):
    """Error codes of the S3 API, each with its HTTP status and default message.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """

    status: int
    message: str

    AccessControlListNotSupported = 400, "The bucket does not allow ACLs."
    AccessDenied = 403, "Access Denied"
    AccessForbidden = 403, "CORSResponse: CORS is not enabled for this bucket."
    AuthorizationHeaderMalformed = 400, "The authorization header you provided is invalid."
    AuthorizationQueryParametersError = 400, "The authorization query parameters are invalid."
    BadDigest = 400, "The digest you specified did not match what we received."
    BadRequest = 400, "The request could not be understood."
    BucketAlreadyExists = 409, "The requested bucket name is not available."
    BucketNotEmpty = 409, "The bucket you tried to delete is not empty."
    EntityTooLarge = 400, "Your proposed upload exceeds the maximum allowed size."
    EntityTooSmall = 400, "Your proposed upload is smaller than the minimum allowed size."
    IncompleteBody = 400, "You did not provide the number of bytes specified by the request."
    InsufficientStorage = 507, "There is not enough room to store the request."
    InternalError = 500, "We encountered an internal error. Please try again."
    InvalidAccessKeyId = 403, "The access key ID you provided does not exist in our records."
    InvalidArgument = 400, "Invalid Argument"
    InvalidBucketAclWithObjectOwnership = (
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    )
    InvalidBucketName = 400, "The specified bucket is not valid."
    InvalidBucketState = 409, "The request is not valid with the current state of the bucket."
    InvalidChunkSizeError = 400, "Only the last chunk is allowed to have a size less than 8192."
    InvalidDigest = 400, "The Content-MD5 you specified is not valid."
    InvalidPart = (
        400,
        "One or more of the specified parts could not be found. The part might not have been "
        "uploaded, or the specified entity tag might not have matched the part's entity tag.",
    )
    InvalidPartNumber = 416, "The requested partnumber is not satisfiable."
    InvalidPartOrder = (
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    )
    InvalidPolicyDocument = (
        400,
        "The content of the form does not meet the conditions specified in the policy document.",
    )
    InvalidRange = 416, "The requested range is not satisfiable."
    InvalidRedirectLocation = (
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    )
    InvalidRequest = 400, "Invalid Request"
    InvalidRetentionPeriod = (
        400,
        "The retention period must be a positive integer of at most 36500 days or 100 years.",
    )
    InvalidStorageClass = 400, "The storage class you specified is not valid."
    InvalidTag = 400, "The tag provided was not a valid tag."
    InvalidToken = 400, "The provided token is malformed or otherwise not valid."
    InvalidURI = 400, "The specified URI could not be parsed."
    KeyTooLongError = 400, "Your key is too long."
    MalformedPOSTRequest = (
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
    MalformedPolicy = 400, "This policy contains invalid Json"
    MalformedTrailerError = 400, "The request contained trailing data that was not well-formed."
    MalformedXML = (
        400,
        "The XML you provided was not well-formed or did not validate against our published "
        "schema.",
    )
    MaxMessageLengthExceeded = 400, "Your request was too large."
    MaxPostPreDataLengthExceeded = (
        400,
        "Your POST request fields preceding the upload file were too large.",
    )
    MetadataTooLarge = 400, "Your metadata headers exceed the maximum allowed metadata size."
    MethodNotAllowed = 405, "The specified method is not allowed against this resource."
    MissingContentLength = 411, "You must provide the Content-Length HTTP header."
    MissingSecurityHeader = 400, "Your request is missing a required header."
    NoSuchBucket = 404, "The specified bucket does not exist."
    NoSuchBucketPolicy = 404, "The bucket policy does not exist"
    NoSuchCORSConfiguration = 404, "The CORS configuration does not exist"
    NoSuchConfiguration = 404, "The specified configuration does not exist."
    NoSuchKey = 404, "The specified key does not exist."
    NoSuchLifecycleConfiguration = 404, "The lifecycle configuration does not exist"
    NoSuchPublicAccessBlockConfiguration = (
        404,
        "The public access block configuration was not found",
    )
    NoSuchTagSet = 404, "The TagSet does not exist"
    NoSuchObjectLockConfiguration = (
        404,
        "The specified object does not have an Object Lock configuration.",
    )
    NoSuchUpload = (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may "
        "have been aborted or completed.",
    )
    NoSuchVersion = 404, "The specified version does not exist."
    NoSuchWebsiteConfiguration = (
        404,
        "The specified bucket does not have a website configuration",
    )
    NotImplemented = 501, "This S3 operation is not supported by Auto Drive."
    OwnershipControlsNotFoundError = 404, "The bucket ownership controls were not found"
    PreconditionFailed = 412, "At least one of the pre-conditions you specified did not hold."
    # As Ceph answers. A status of 5xx would have clients try again and again.
    QuotaExceeded = 403, "The quota of the account or the bucket is used up."
    ReplicationConfigurationNotFoundError = 404, "The replication configuration was not found"
    RequestHeaderSectionTooLarge = 400, "Your request header section exceeds the maximum size."
    RequestTimeout = (
        400,
        "Your socket connection to the server was not read from or written to within the "
        "timeout period.",
    )
    RequestTimeTooSkewed = (
        403,
        "The difference between the request time and the server's time is too large.",
    )
    ServerSideEncryptionConfigurationNotFoundError = (
        404,
        "The server side encryption configuration was not found",
    )
    ServiceUnavailable = 503, "Service is unable to handle request."
    SignatureDoesNotMatch = (
        403,
        "The request signature we calculated does not match the signature you provided. Check "
        "your key and signing method.",
    )
    SlowDown = 503, "Please reduce your request rate."
    UnexpectedContent = 400, "This request contains unsupported content."
    UnresolvableGrantByEmailAddress = (
        400,
        "The email address you provided does not match any account on record.",
    )
    XAmzContentSHA256Mismatch = (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )

    def __new__(cls, status: int, message: str) -> ErrorCode:
        # Statuses repeat, so the member's value is made unique by counting.
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        member.status = status
        member.message = message
        return member


class S3Error(Exception):
    """An answer of the S3 API that is not a success; rendered by the web layer alone.

    `fields` become elements of the error document (`Key="a"` → `<Key>a</Key>`), `headers`
    go onto the response.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **fields: str | int,
    ) -> None:
        super().__init__(f"{code.name}: {message or code.message}")
        self.code = code
        self.message = message or code.message
        self.headers = headers or {}
        self.fields = fields

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.code.status
