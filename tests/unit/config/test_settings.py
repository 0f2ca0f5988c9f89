"""From a file to settings: defaults, refusals, warnings."""

import json
import pickle
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.config.settings import Loaded, Settings, load
from gateway.errors import BadConfiguration

FIXTURE = Path(__file__).with_name("orthanc.json")
DEBIAN = Path("/etc/orthanc")

Configure = Callable[..., Loaded]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Load one file with these options at the top level."""

    def configured(
        dicom_web: dict[str, object] | None = None, **options: object
    ) -> Loaded:
        if dicom_web is not None:
            options["DicomWeb"] = dicom_web
        path = tmp_path / "x.json"
        path.write_text(json.dumps(options))
        return load([path], {})

    return configured


def refusal(configure: Configure, *args: object, **options: object) -> str:
    with pytest.raises(BadConfiguration) as error:
        configure(*args, **options)
    return error.value.message


# Defaults


def test_no_path_gives_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load([], {})
    settings = loaded.settings
    assert loaded.warnings == ()
    assert loaded.files == ()
    assert settings.name == "MyOrthanc"
    assert settings.http_port == 8042
    assert settings.storage_directory == tmp_path / "OrthancStorage"
    assert settings.index_directory == tmp_path / "OrthancStorage"
    assert settings.authentication_enabled is False
    assert settings.overwrite_instances == "Never"
    assert settings.maximum_request_body_size_mb == 0
    assert settings.trusted_proxies == (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert settings.dicom_web.root == "/dicom-web/"
    assert settings.dicom_web.public_root == "/dicom-web/"
    assert settings.dicom_web.wado_root == "/wado"
    assert settings.dicom_web.qido_case_sensitive is None


def test_null_is_the_same_as_nothing(configure: Configure) -> None:
    loaded = configure(HttpPort=None, RegisteredUsers=None, DicomWeb=None)
    assert loaded.settings.http_port == 8042
    assert loaded.settings.dicom_web.root == "/dicom-web/"
    assert loaded.warnings == ()


def test_the_index_is_kept_with_the_files_unless_somebody_says_where(
    configure: Configure, tmp_path: Path
) -> None:
    settings = configure(StorageDirectory="files").settings
    assert settings.index_directory == tmp_path / "files"
    settings = configure(StorageDirectory="files", IndexDirectory="/ssd").settings
    assert settings.index_directory == Path("/ssd")


def test_a_relative_path_starts_from_the_file_that_sets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two", "current"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one/a.json").write_text('{ "StorageDirectory" : "files" }')
    (tmp_path / "two/b.json").write_text('{ "IndexDirectory" : "../index" }')
    monkeypatch.chdir(tmp_path / "current")
    settings = load([Path("../one/a.json"), tmp_path / "two"], {}).settings
    assert settings.storage_directory.resolve() == tmp_path / "one/files"
    assert settings.storage_directory.is_absolute()
    assert settings.index_directory.resolve() == tmp_path / "index"
    assert settings.ssl_certificate == tmp_path / "current/certificate.pem"


def test_passwords_are_needed_when_other_machines_may_come_in(
    configure: Configure,
) -> None:
    users = {"alice": "secret"}
    remote = configure(RemoteAccessAllowed=True, RegisteredUsers=users).settings
    assert remote.authentication_enabled is True
    assert remote.registered_users == users
    assert configure(RegisteredUsers=users).settings.authentication_enabled is False


@pytest.mark.parametrize(
    ("given", "expected"),
    [(True, "Always"), (False, "Never"), ("IfChanged", "IfChanged")],
)
def test_overwriting_is_said_with_a_word_or_as_true_and_false(
    configure: Configure, given: object, expected: str
) -> None:
    assert configure(OverwriteInstances=given).settings.overwrite_instances == expected


@pytest.mark.parametrize(
    ("given", "root", "wado"),
    [
        ("/a/", "/a/", "/a"),
        ("a", "/a/", "/a"),
        ("//a//b", "/a/b/", "/a/b"),
        ("/", "/", "/"),
        ("", "/", "/"),
    ],
)
def test_slashes_are_put_where_they_belong(
    configure: Configure, given: str, root: str, wado: str
) -> None:
    dicom_web = configure({"Root": given, "WadoRoot": given}).settings.dicom_web
    assert (dicom_web.root, dicom_web.public_root, dicom_web.wado_root) == (
        root,
        root,
        wado,
    )


def test_the_public_root_may_differ_from_the_root(configure: Configure) -> None:
    dicom_web = configure({"PublicRoot": "pacs/dicom-web"}).settings.dicom_web
    assert dicom_web.root == "/dicom-web/"
    assert dicom_web.public_root == "/pacs/dicom-web/"


def test_networks_of_proxies_are_read(configure: Configure) -> None:
    settings = configure(TrustedProxies=["10.1.2.3/8", "::1"]).settings
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))


def test_servers_all_come_in_the_long_form(configure: Configure) -> None:
    servers = {
        "a": ["http://a/"],
        "b": ["HTTPS://b/", "alice", "secret"],
        "c c": {"URL": "http://c/", "HasDelete": "1", "Pkcs11": False, "Mine": 5},
    }
    assert configure({"Servers": servers}).settings.dicom_web.servers == {
        "a": {"Url": "http://a/"},
        "b": {"Url": "HTTPS://b/", "Username": "alice", "Password": "secret"},
        "c c": {"Url": "http://c/", "HasDelete": True, "Pkcs11": False, "Mine": 5},
    }


def test_the_files_of_a_server_are_beside_the_file_that_names_them(
    configure: Configure, tmp_path: Path
) -> None:
    servers = {
        "a": {
            "Url": "https://a/",
            "CertificateFile": "client.pem",
            "CertificateKeyFile": "/etc/key.pem",
            "OAuth2": {"ServiceAccountFile": "account.json"},
        }
    }
    server = configure({"Servers": servers}).settings.dicom_web.servers["a"]
    folders = [Path(str(server["CertificateFile"])).parent]
    assert folders == [tmp_path]
    assert server["CertificateKeyFile"] == "/etc/key.pem"
    assert server["OAuth2"] == {"ServiceAccountFile": str(tmp_path / "account.json")}


def test_a_password_in_the_address_of_a_server_is_taken_out_of_it(
    configure: Configure,
) -> None:
    servers = {"a": ["https://alice:s%40crt@a:8443/x"]}
    assert configure({"Servers": servers}).settings.dicom_web.servers["a"] == {
        "Url": "https://a:8443/x",
        "Username": "alice",
        "Password": "s@crt",
    }


def test_settings_can_be_sent_to_another_process(configure: Configure) -> None:
    servers = {"a": ["http://a/", "alice", "secret"]}
    settings = configure({"Servers": servers}, RegisteredUsers={"a": "b"}).settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_do_not_print_passwords(configure: Configure) -> None:
    servers = {"a": ["http://a/", "alice", "hidden"]}
    settings = configure(
        {"Servers": servers},
        RegisteredUsers={"a": "hidden"},
        HttpProxy="u:hidden@proxy:3128",
        Pkcs11={"Pin": "hidden"},
    ).settings
    assert "hidden" not in repr(settings)


# Refusals


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HttpPort", "abc", 'is "abc", but a number from 0 to 65535 is expected'),
        ("HttpPort", 65536, "is 65536, but a number from 0 to 65535 is expected"),
        ("HttpPort", True, "is true, but a number from 0 to 65535 is expected"),
        ("HttpPort", 80.0, "is 80.0, but a number from 0 to 65535 is expected"),
        ("Workers", 0, "is 0, but a number from 1 to 1024 is expected"),
        (
            "MaximumStorageSize",
            -1,
            "is -1, but a whole number of at least 0 is expected",
        ),
        ("KeepAlive", "true", 'is "true", but true or false is expected'),
        ("KeepAlive", 1, "is 1, but true or false is expected"),
        ("Name", 5, "is 5, but a string is expected"),
        ("Name", ["a"], "is a list, but a string is expected"),
        ("Name", {"a": 1}, "is an object, but a string is expected"),
        ("StorageDirectory", "", 'is "", but a path is expected'),
        (
            "MaximumStorageMode",
            "Rejekt",
            'is "Rejekt", but one of "Recycle", "Reject" is expected',
        ),
        (
            "OverwriteInstances",
            "Sometimes",
            'is "Sometimes", but one of "Never", "Always", "IfChanged" is expected',
        ),
        ("DefaultEncoding", "Latin9", 'is "Latin9", but one of'),
        ("SslMinimumProtocolVersion", 6, "is 6, but a number from 0 to 5"),
        ("HttpBindAddresses", "::", 'is "::", but a list of strings is expected'),
        ("ExtraMainDicomTags", {"Frame": []}, "is an object, but an object with lists"),
        ("DicomWeb", True, "is true, but an object is expected"),
    ],
)
def test_a_wrong_value_stops_the_start_and_says_what_was_expected(
    configure: Configure, tmp_path: Path, name: str, value: object, message: str
) -> None:
    text = refusal(configure, **{name: value})
    assert text.startswith(f'{tmp_path}/x.json: "{name}" {message}')


def test_a_wrong_item_of_a_list_is_named_by_its_place(configure: Configure) -> None:
    text = refusal(configure, TrustedProxies=["10.0.0.0/8", "proxy"])
    assert '"TrustedProxies.1" is "proxy", but a network such as' in text
    text = refusal(configure, HttpBindAddresses=["::1", 5])
    assert '"HttpBindAddresses.1" is 5, but a string that is not empty is' in text
    text = refusal(configure, ExtraMainDicomTags={"Study": ["no tag"]})
    assert '"ExtraMainDicomTags.Study.0" is "no tag", but a tag such as' in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Root", 5),
        ("Root", "/a?b"),
        ("Root", "/{study}/"),
        ("Root", "/a/../b"),
        ("PublicRoot", "/a b/"),
        ("Host", "http://pacs"),
        ("Host", "a b"),
        ("StudiesMetadata", "Fast"),
        ("SeriesMetadata", 1),
        ("MetadataWorkerThreadsCount", 0),
        ("OtherBinaryMode", "Inline"),
        ("StudiesMetadataExtrapolatedTags", ["no tag"]),
        ("QidoCaseSensitive", "no"),
    ],
)
def test_a_wrong_value_of_dicomweb_is_named_with_its_section(
    configure: Configure, name: str, value: object
) -> None:
    assert f'x.json: "DicomWeb.{name}' in refusal(configure, {name: value})


def test_a_very_long_value_is_cut(configure: Configure) -> None:
    assert len(refusal(configure, HttpPort="x" * 10_000)) < 400


@pytest.mark.parametrize(
    ("server", "where"),
    [
        ("secret", "DicomWeb.Servers.a"),
        (["http://u:secret@x/", "secret"], "DicomWeb.Servers.a"),
        ([], "DicomWeb.Servers.a"),
        (["ftp://u:secret@x/"], "DicomWeb.Servers.a.Url"),
        (["http:///secret"], "DicomWeb.Servers.a.Url"),
        ({"Password": "secret"}, "DicomWeb.Servers.a.Url"),
        ({"Url": "http://x/", "Password": "secret"}, "DicomWeb.Servers.a"),
        ({"Url": "http://x/", "URL": "http://secret/"}, "DicomWeb.Servers.a"),
        ({"Url": "http://x/", "Username": ["secret"]}, "DicomWeb.Servers.a.Username"),
        ({"Url": "http://x/", "Timeout": "secret"}, "DicomWeb.Servers.a.Timeout"),
        ({"Url": "http://x/", "HasDelete": "secret"}, "DicomWeb.Servers.a.HasDelete"),
        ({"Url": "http://x/", "Mine": ["secret"]}, "DicomWeb.Servers.a.Mine"),
        (
            {"Url": "http://x/", "HttpHeaders": {"A": ["secret"]}},
            "DicomWeb.Servers.a.HttpHeaders.A",
        ),
    ],
)
def test_a_wrong_server_is_refused_without_showing_its_password(
    configure: Configure, server: object, where: str
) -> None:
    text = refusal(configure, {"Servers": {"a": server}})
    assert f'"{where}" is not usable: ' in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RegisteredUsers", "alice:secret"),
        ("RegisteredUsers", {"alice": ["secret"]}),
        ("RegisteredUsers", {"alice": 13131313}),
        ("RegisteredUsers", {"": "secret"}),
        ("HttpProxy", ["secret"]),
        ("Pkcs11", "secret"),
        ("Pkcs11", {"Pin": 13131313}),
        ("Pkcs11", {"Pim": "secret"}),
    ],
)
def test_no_refusal_shows_a_password(
    configure: Configure, name: str, value: object
) -> None:
    text = refusal(configure, **{name: value})
    assert f'"{name}' in text
    assert "secret" not in text
    assert "1313" not in text


def test_a_password_that_the_environment_lacks_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{ "RegisteredUsers" : { "alice" : "${ALICE}" } }')
    with pytest.raises(BadConfiguration, match="not empty"):
        load([path], {})
    settings = load([path], {"ALICE": "secret"}).settings
    assert settings.registered_users == {"alice": "secret"}


def test_other_machines_and_passwords_without_any_user_stop_the_start(
    configure: Configure,
) -> None:
    assert '"RegisteredUsers" is empty' in refusal(configure, RemoteAccessAllowed=True)


def test_https_without_a_certificate_stops_the_start(
    configure: Configure, tmp_path: Path
) -> None:
    text = refusal(configure, SslEnabled=True, SslCertificate="own.pem")
    assert str(tmp_path / "own.pem") in text
    (tmp_path / "own.pem").touch()
    settings = configure(SslEnabled=True, SslCertificate="own.pem").settings
    assert settings.ssl_certificate == tmp_path / "own.pem"


# Warnings


def test_an_unknown_name_gets_a_warning_with_the_nearest_one(
    configure: Configure,
) -> None:
    loaded = configure({"PublicRot": "/a/", "Port": 5}, HttpPrt=80, httpport=80)
    assert [warning.split(": ", 1)[1] for warning in loaded.warnings] == [
        'nobody knows the option "HttpPrt"; "HttpPort" may be meant',
        'nobody knows the option "httpport"; "HttpPort" may be meant',
        'nobody knows the option "DicomWeb.PublicRot"; "DicomWeb.PublicRoot" may be '
        "meant",
        'nobody knows the option "DicomWeb.Port"',
    ]


def test_an_option_at_the_wrong_place_gets_a_warning_with_the_right_one(
    configure: Configure,
) -> None:
    loaded = configure({"HttpPort": 80}, PublicRoot="/a/", Dicomweb={})
    assert [warning.split("; ")[1] for warning in loaded.warnings] == [
        '"DicomWeb.PublicRoot" may be meant',
        '"DicomWeb" may be meant',
        '"HttpPort" may be meant',
    ]


def test_options_of_orthanc_alone_are_named_in_one_warning(
    configure: Configure,
) -> None:
    loaded = configure({"StowMaxSize": 10}, DicomAet="A", ServeFolders={"/a": "/b"})
    assert loaded.warnings == (
        "options of Orthanc that do not concern this gateway: "
        '"DicomAet", "ServeFolders"',
    )


def test_options_that_are_set_without_effect_are_named_in_one_warning(
    configure: Configure,
) -> None:
    loaded = configure(
        {"EnableMetadataCache": False},
        StorageCompression=True,
        StableAge=60,
        HttpsCACertificates="",
    )
    assert loaded.warnings == (
        "options that are set, but have no effect yet: "
        '"StorageCompression", "DicomWeb.EnableMetadataCache"',
    )


def test_limits_are_obeyed_without_a_word(configure: Configure) -> None:
    for mode in ("Recycle", "Reject"):
        loaded = configure(
            MaximumStorageSize=5, MaximumPatientCount=2, MaximumStorageMode=mode
        )
        assert loaded.warnings == ()


def test_open_doors_and_doors_without_a_key_get_a_warning(configure: Configure) -> None:
    loaded = configure(RemoteAccessAllowed=True, AuthenticationEnabled=False)
    assert loaded.warnings == (
        "other machines can read and write everything without a password",
    )
    loaded = configure(AuthenticationEnabled=True)
    assert "nobody can come in" in loaded.warnings[0]


def test_addresses_that_only_this_machine_can_follow_get_a_warning(
    configure: Configure,
) -> None:
    users = {"a": "b"}
    loaded = configure(
        {"Host": "localhost"}, RemoteAccessAllowed=True, RegisteredUsers=users
    )
    assert '"DicomWeb.Host" is "localhost"' in loaded.warnings[0]
    loaded = configure(
        {"Host": "localhost.example.org"},
        RemoteAccessAllowed=True,
        RegisteredUsers=users,
    )
    assert loaded.warnings == ()


# Configurations of Orthanc


def test_a_grown_configuration_of_orthanc_starts_the_gateway() -> None:
    environment = {"HTTP_PORT": "8080", "ALICE_PASSWORD": "do not show"}
    loaded = load([FIXTURE], environment)
    settings = loaded.settings
    assert settings.http_port == 8080
    assert settings.storage_directory == FIXTURE.parent / "storage"
    assert settings.index_directory == Path("/mnt/ssd/index")
    assert settings.registered_users == {
        "alice": "do not show",
        "viewer": "look//only",
    }
    assert settings.overwrite_instances == "Always"
    assert settings.dicom_web.root == "/dicom-web/"
    assert settings.dicom_web.wado_root == "/wado"
    assert settings.dicom_web.servers["research"]["HasDelete"] is True
    assert settings.dicom_web.stow_max_instances == 10
    (passed_over,) = loaded.warnings
    assert '"DicomModalities"' in passed_over
    assert "do not show" not in f"{loaded}"


@pytest.mark.skipif(
    not (DEBIAN / "orthanc.json").is_file(),
    reason="the Debian package orthanc is not installed here",
)
def test_the_configuration_of_the_debian_package_starts_the_gateway() -> None:
    paths = [DEBIAN / "orthanc.json", DEBIAN / "dicomweb.json"]
    loaded = load([path for path in paths if path.is_file()], {})
    assert isinstance(loaded.settings, Settings)
    assert loaded.settings.storage_directory == Path("/var/lib/orthanc/db-v6")
    assert not [warning for warning in loaded.warnings if "nobody knows" in warning]
