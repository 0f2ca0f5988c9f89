"""Every option of the configuration, in one table.

A row says how the option is spelled, which values it takes, what it is when nobody sets
it, and whether this version obeys it. The settings, the warnings and the sample
``conf/gateway.json`` follow from the rows, and tests hold them to it. To let an option
work, change its ``LATER`` into ``NOW`` and take the remark out of the sample.

Below the table are the names of Orthanc that are passed over: a configuration that
served Orthanc has to start the gateway, but nobody should believe that an option works
when it does not.
"""

import re
from dataclasses import dataclass

from gateway.config.kinds import (
    Choice,
    Flag,
    Host,
    Kind,
    LevelTags,
    Links,
    Networks,
    Place,
    SecurityToken,
    Servers,
    TagList,
    Text,
    TextList,
    UrlPath,
    Users,
    Whole,
)

NOW = True  # this version obeys the option
LATER = False  # read and checked, without effect yet

DICOM_WEB = "DicomWeb"
_METADATA = Choice(("Full", "MainDicomTags", "Extrapolate"))
_ENCODINGS = Choice(
    (
        *("Ascii", "Utf8", "Latin1", "Latin2", "Latin3", "Latin4", "Latin5"),
        *("Cyrillic", "Windows1251", "Arabic", "Greek", "Hebrew", "Thai"),
        *("Japanese", "JapaneseKanji", "Korean", "SimplifiedChinese", "Chinese"),
    )
)


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table."""

    name: str  # as the file spells it
    kind: Kind  # which values it takes
    default: object  # as JSON; None if there is none, or if it follows another option
    effect: bool  # whether this version obeys it
    summary: str  # one line on what it does
    section: str = ""  # the object it is in; empty for the top level
    ours: bool = False  # Orthanc has no such option

    @property
    def key(self) -> str:
        """The name in messages, with its section."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def field(self) -> str:
        """The name of the field in the settings."""
        parts = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
        return re.sub(parts, "_", self.name).lower()


def _ours(name: str, kind: Kind, default: object, effect: bool, summary: str) -> Option:
    return Option(name, kind, default, effect, summary, ours=True)


def _dicom_web(
    name: str, kind: Kind, default: object, effect: bool, summary: str
) -> Option:
    return Option(name, kind, default, effect, summary, section=DICOM_WEB)


TABLE = (
    # Who this is
    Option("Name", Text(), "MyOrthanc", NOW, "name that is shown to people"),
    _ours(
        "LogLevel",
        Choice(("debug", "verbose", "info", "warning", "error")),
        "info",
        NOW,
        "what is worth a line in the log",
    ),
    _ours("Viewers", Links(), {}, NOW, "viewers that the page links to"),
    _ours("LogFormat", Choice(("text", "json")), "text", NOW, "lines of the log"),
    Option("MetricsEnabled", Flag(), True, NOW, "numbers for Prometheus"),
    # What is kept, and where
    Option("StorageDirectory", Place(), "OrthancStorage", NOW, "folder of the files"),
    Option("IndexDirectory", Place(), None, NOW, "folder of the index"),
    Option("TemporaryDirectory", Place(), None, NOW, "folder of short-lived files"),
    Option("MaximumStorageSize", Whole(), 0, NOW, "room for all files, in MB"),
    Option(
        "MaximumStorageMode",
        Choice(("Recycle", "Reject")),
        "Recycle",
        NOW,
        "what happens when there is no room left",
    ),
    Option("MaximumPatientCount", Whole(), 0, NOW, "how many patients are kept"),
    _ours(
        "MinimumFreeSpaceMB", Whole(), 256, NOW, "free disk space that is left alone"
    ),
    Option("StorageCompression", Flag(), False, LATER, "files are compressed on disk"),
    Option("SyncStorageArea", Flag(), True, LATER, "each file is flushed to the disk"),
    Option("StoreMD5ForAttachments", Flag(), True, LATER, "a checksum for each file"),
    Option(
        "OverwriteInstances",
        Choice(("Never", "Always", "IfChanged"), true="Always", false="Never"),
        "Never",
        NOW,
        "what happens to an instance that is here already",
    ),
    Option("ReadOnly", Flag(), False, NOW, "nothing is stored, changed or deleted"),
    Option("StableAge", Whole(1), 60, NOW, "quiet seconds that make a study stable"),
    # What is read out of the files
    Option(
        "DefaultEncoding", _ENCODINGS, "Latin1", NOW, "character set if none is named"
    ),
    Option("CaseSensitivePN", Flag(), False, NOW, "searches mind upper and lower case"),
    Option("ExtraMainDicomTags", LevelTags(), {}, LATER, "more tags for the index"),
    Option(
        "StorageAccessOnFind",
        Choice(("Always", "Answers", "Never")),
        "Always",
        LATER,
        "when a search may open files",
    ),
    # How this is reached
    Option("HttpPort", Whole(0, 65535), 8042, NOW, "TCP port"),
    _ours("HttpBindAddresses", TextList(), [], NOW, "addresses that are listened on"),
    _ours("Workers", Whole(1, 1024), 1, NOW, "processes that share the port"),
    _ours("StopDelay", Whole(), 0, NOW, "seconds between not ready and the end"),
    Option("KeepAlive", Flag(), True, NOW, "a connection serves several requests"),
    Option(
        "KeepAliveTimeout", Whole(), 1, NOW, "seconds that an idle connection lives"
    ),
    Option(
        "HttpRequestTimeout", Whole(), 30, NOW, "seconds of silence within a request"
    ),
    Option("MaximumRequestBodySizeMB", Whole(), 0, NOW, "largest body, in MB"),
    Option("HttpDescribeErrors", Flag(), True, NOW, "errors are explained in a body"),
    Option("HttpCompressionEnabled", Flag(), False, NOW, "answers are compressed"),
    _ours("TrustedProxies", Networks(), ["*"], NOW, "whose Forwarded is believed"),
    _ours("AllowedHosts", TextList(), [], NOW, "names that the server goes by"),
    # What pages of other sites may do
    _ours("CorsOrigins", TextList(), [], NOW, "sites whose pages may come in"),
    _ours(
        "CorsMethods",
        TextList(),
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
        NOW,
        "methods that they may use",
    ),
    _ours(
        "CorsHeaders",
        TextList(),
        [
            *("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match"),
            *("Range", "X-Requested-With"),
        ],
        NOW,
        "headers that they may send",
    ),
    _ours("CorsCredentials", Flag(), False, NOW, "they may use a person's password"),
    # Who may come in
    Option("RemoteAccessAllowed", Flag(), False, NOW, "other machines may come in"),
    Option(
        "AuthenticationEnabled", Flag(), None, NOW, "a name and password are needed"
    ),
    Option("RegisteredUsers", Users(), {}, NOW, "names and passwords"),
    Option("SslEnabled", Flag(), False, NOW, "HTTPS instead of HTTP"),
    Option(
        "SslCertificate", Place(), "certificate.pem", NOW, "certificate with its key"
    ),
    Option("SslMinimumProtocolVersion", Whole(0, 5), 4, NOW, "oldest protocol of TLS"),
    Option("SslCiphersAccepted", TextList(), None, NOW, "ciphers of TLS"),
    Option("SslVerifyPeers", Flag(), False, NOW, "clients need a certificate"),
    Option(
        "SslTrustedClientCertificates",
        Place(),
        "trustedClientCertificates.pem",
        NOW,
        "whose certificates of clients are accepted",
    ),
    # Requests to others
    Option("HttpTimeout", Whole(), 60, NOW, "seconds of silence of another server"),
    Option("HttpProxy", Text(secret=True), "", NOW, "proxy for requests to others"),
    Option("HttpVerbose", Flag(), False, NOW, "each request to another is logged"),
    Option("HttpsVerifyPeers", Flag(), True, NOW, "certificates of others are checked"),
    Option("HttpsCACertificates", Place(True), "", NOW, "authorities that are trusted"),
    Option("Pkcs11", SecurityToken(), {}, NOW, "token that holds a client's key"),
    # Jobs
    Option("ConcurrentJobs", Whole(), 2, NOW, "jobs that run at the same time"),
    Option("JobsHistorySize", Whole(), 10, NOW, "finished jobs that are remembered"),
    Option("SaveJobs", Flag(), True, NOW, "jobs survive a restart"),
    # DICOMweb
    _dicom_web("Enable", Flag(), True, NOW, "the services of DICOMweb are there"),
    _dicom_web("Root", UrlPath(folder=True), "/dicom-web/", NOW, "where they are"),
    _dicom_web("PublicRoot", UrlPath(folder=True), None, NOW, "where clients see them"),
    _dicom_web("Host", Host(), "", NOW, "host in the addresses that are handed out"),
    _dicom_web("Ssl", Flag(), False, NOW, "https in the addresses that are handed out"),
    _dicom_web("EnableWado", Flag(), True, NOW, "WADO-URI is there"),
    _dicom_web("WadoRoot", UrlPath(folder=False), "/wado", NOW, "where WADO-URI is"),
    _dicom_web(
        "QidoCaseSensitive", Flag(), None, NOW, "as CaseSensitivePN, for QIDO-RS"
    ),
    Option(
        "QidoMaximumResults",
        Whole(),
        0,
        NOW,
        "matches in one answer",
        section=DICOM_WEB,
        ours=True,
    ),
    _dicom_web("StudiesMetadata", _METADATA, "Full", NOW, "what metadata are made of"),
    _dicom_web("SeriesMetadata", _METADATA, "Full", NOW, "the same for one series"),
    _dicom_web(
        "StudiesMetadataExtrapolatedTags", TagList(), [], NOW, "tags that are guessed"
    ),
    _dicom_web(
        "SeriesMetadataExtrapolatedTags", TagList(), [], NOW, "the same for one series"
    ),
    _dicom_web("EnableMetadataCache", Flag(), True, LATER, "metadata are made once"),
    _dicom_web(
        "MetadataWorkerThreadsCount", Whole(1), 4, LATER, "readers for metadata"
    ),
    _dicom_web("WadoRsLoaderThreadsCount", Whole(), 0, LATER, "readers for retrieval"),
    _dicom_web("EnablePerformanceLogs", Flag(), False, NOW, "retrievals are timed"),
    _dicom_web(
        "OtherBinaryMode",
        Choice(("BulkDataURI", "InlineBinary", "ArrayOfValues")),
        "BulkDataURI",
        NOW,
        "how metadata show binary values",
    ),
    Option(
        "InlineBinaryMaximumSize",
        Whole(0, 1024 * 1024),
        1024,
        NOW,
        "bytes of a binary value that stands in metadata",
        section=DICOM_WEB,
        ours=True,
    ),
    _dicom_web("Servers", Servers(), {}, NOW, "remote servers by name"),
    _dicom_web("ServersInDatabase", Flag(), False, NOW, "they survive a restart"),
    Option(
        "StowMaxInstances",
        Whole(),
        0,
        NOW,
        "instances in one request that stores at a remote server",
        section=DICOM_WEB,
        ours=True,
    ),
    Option(
        "StowMaxSize",
        Whole(),
        128,
        NOW,
        "the same, in MB",
        section=DICOM_WEB,
        ours=True,
    ),
)

OPTIONS = {(option.section, option.name): option for option in TABLE}

# Orthanc's own options for what a DICOMweb server has no part in.
_CORE = """
AcceptedTransferSyntaxes BuiltinDecoderTranscoderOrder CheckRevisions
DatabaseServerIdentifier DefaultPrivateCreator DeflatedTransferSyntaxAccepted
DeidentifyLogs DeidentifyLogsDicomVersion DicomAet DicomAlwaysAllowEcho
DicomAlwaysAllowFind DicomAlwaysAllowFindWorklist DicomAlwaysAllowGet
DicomAlwaysAllowMove DicomAlwaysAllowStore DicomAssociationCloseDelay
DicomCheckCalledAet DicomCheckModalityHost DicomDefaultRetrieveMethod
DicomEchoChecksFind DicomLossyTranscodingQuality DicomModalities
DicomModalitiesInDatabase DicomPort DicomScpTimeout DicomScuPreferredTransferSyntax
DicomScuTimeout DicomServerEnabled DicomThreadsCount DicomTlsCertificate
DicomTlsCiphersAccepted DicomTlsEnabled DicomTlsMinimumProtocolVersion
DicomTlsPrivateKey DicomTlsRemoteCertificateRequired DicomTlsTrustedCertificates
Dictionary ExecuteLuaEnabled ExternalDictionaries H265TransferSyntaxAccepted
HttpServerEnabled HttpThreadsCount IngestTranscoding IngestTranscodingOfCompressed
IngestTranscodingOfUncompressed JobsEngineThreadsCount Jpeg2000TransferSyntaxAccepted
JpegLosslessTransferSyntaxAccepted JpegTransferSyntaxAccepted
JpipTransferSyntaxAccepted LimitFindInstances LimitFindResults LimitJobs
LoadPrivateDictionary LoaderThreads Locale LogExportedResources LuaHeartBeatPeriod
LuaScripts MallocArenaMax MaximumPduLength MaximumStorageCacheSize MediaArchiveSize
Mpeg2TransferSyntaxAccepted Mpeg4TransferSyntaxAccepted OrthancExplorerEnabled
OrthancPeers OrthancPeersInDatabase Plugins QueryRetrieveSize
RestApiWriteToFileSystemEnabled RleTransferSyntaxAccepted
StorageCommitmentReportsSize StoreDicom StrictAetComparison SynchronousCMove
SynchronousZipStream TcpNoDelay TranscodeDicomProtocol UnknownSopClassAccepted
UserContentType UserMetadata Warnings WebDavDeleteAllowed WebDavEnabled
WebDavUploadAllowed ZipLoaderThreads
"""

# What the other plugins of Orthanc read.
_PLUGINS = """
AdvancedStorage AllowCache Authorization AwsS3Storage AzureBlobStorage
ConnectivityChecks DelayedDeletion Gdcm GenerateETag GoogleCloudStorage Housekeeper
Indexer Java MultitenantDicom MySQL Neuro OHIF Odbc OrthancExplorer2 PixelsMasker
PostgreSQL Python PythonScript PythonVerbose STL ServeFolders StoneWebViewer Tcia
Transfers VolView WebViewer WholeSlideImaging Worklists Wsi
"""

PASSED_OVER = frozenset(("", name) for name in (_CORE + _PLUGINS).split())
