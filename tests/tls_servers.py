"""TLS servers with a certificate that was issued here, configured as ``docs/clients.md`` says."""

from __future__ import annotations

import signal
import socket
import subprocess
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemons import daemon
from running_server import until
from strangers import certificate, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from strangers import Issued

HOST = "www.example.ac.jp"

_NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {key};
        ssl_stapling on;
        {stapling}
        return 200 "stapled\\n";
    }}
}}
"""
_APACHE = """
ServerRoot {folder}
ServerName www.example.ac.jp
DefaultRuntimeDir {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule socache_shmcb_module /usr/lib/apache2/modules/mod_socache_shmcb.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
User nobody
Group nogroup
ErrorLog {folder}/error.log
DocumentRoot {folder}
Mutex posixsem
SSLUseStapling on
SSLStaplingCache "shmcb:{folder}/stapling(131072)"
SSLStaplingStandardCacheTimeout 1
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    SSLCertificateFile {folder}/chain.pem
    SSLCertificateKeyFile {key}
</VirtualHost>
"""
_HAPROXY = """
global
    stats socket {folder}/socket mode 600 level admin
defaults
    mode http
    timeout client 10s
    timeout connect 5s
    timeout server 10s
frontend stapling
    bind 127.0.0.1:{port} ssl crt {folder}/site.pem
    http-request return status 200 content-type text/plain string stapled
"""
_SLAPD = """
pidfile {folder}/pid
argsfile {folder}/args
TLSCACertificateFile {folder}/issuers.pem
TLSCertificateFile {folder}/chain.pem
TLSCertificateKeyFile {key}
TLSVerifyClient never
"""
_TOMCAT = """
<Server port="-1">
  <Service name="Catalina">
    <Connector port="{port}" address="127.0.0.1" protocol="org.apache.coyote.http11.Http11NioProtocol"
               SSLEnabled="true" maxThreads="8">
      <SSLHostConfig certificateVerification="required" revocationEnabled="true"
                     truststoreFile="{folder}/roots.p12" truststorePassword="changeit" truststoreType="PKCS12">
        <Certificate type="RSA" certificateFile="{leaf}" certificateChainFile="{issuer}" certificateKeyFile="{key}"/>
      </SSLHostConfig>
    </Connector>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
"""


@dataclass(frozen=True)
class Site:
    """A certificate, its key, and the files that servers want to have of them, in ``folder``."""

    home: Path
    folder: Path
    port: int
    issued: Issued

    def fetch(self, answer: Path) -> None:
        """Ask as a job of the operator's would, and keep the answer."""
        url = run("openssl", "x509", "-in", self.issued.certificate, "-noout", "-ocsp_uri").strip()
        run("openssl", "ocsp", "-issuer", certificate(self.home, self.issued.ca), "-cert", self.issued.certificate,
            "-no_nonce", "-url", url, "-CAfile", certificate(self.home, "root"), "-respout", answer)  # fmt: skip

    def write(self, name: str, template: str, stapling: str = "") -> Path:
        """Configuration, and the chain and the issuers beside it."""
        root, issuer = certificate(self.home, "root"), certificate(self.home, self.issued.ca)
        (self.folder / "chain.pem").write_bytes(self.issued.certificate.read_bytes() + issuer.read_bytes())
        (self.folder / "issuers.pem").write_bytes(issuer.read_bytes() + root.read_bytes())
        file = self.folder / name
        file.write_text(
            template.format(
                folder=self.folder,
                port=self.port,
                key=self.issued.key,
                leaf=self.issued.certificate,
                issuer=issuer,
                stapling=stapling,
            )
        )
        return file


def _nginx(site: Site, stapling: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    file = site.write("nginx.conf", _NGINX, stapling)
    command: list[str | Path] = ["nginx", "-p", site.folder, "-e", "stderr", "-c", file]
    return daemon(command, site.port, site.folder / "nginx.log")


@contextmanager
def nginx(site: Site) -> Iterator[Callable[[], None]]:
    """Asks itself and keeps an answer for an hour; yields how it is made to ask again. What is not good it does not
    staple.
    """
    with _nginx(site, f"ssl_stapling_verify on; ssl_trusted_certificate {site.folder}/issuers.pem;") as process:
        yield lambda: process.send_signal(signal.SIGHUP)


@contextmanager
def nginx_with_file(site: Site) -> Iterator[Callable[[], None]]:
    """Staples what was fetched for it, whatever it says; yields how it gets another."""
    answer = site.folder / "answer.der"
    site.fetch(answer)
    with _nginx(site, f"ssl_stapling_file {answer};") as process:

        def update() -> None:
            site.fetch(answer)
            process.send_signal(signal.SIGHUP)

        yield update


@contextmanager
def apache(site: Site) -> Iterator[Callable[[], None]]:
    """It asks again when SSLStaplingStandardCacheTimeout is over."""
    file = site.write("apache.conf", _APACHE)
    with daemon(["apache2", "-f", file, "-DFOREGROUND"], site.port, site.folder / "apache.log"):
        yield lambda: None


@contextmanager
def haproxy(site: Site) -> Iterator[Callable[[], None]]:
    """Up to 2.7 it does not ask itself: an answer is fetched for it, at the start and whenever it shall be another."""
    file = site.write("haproxy.cfg", _HAPROXY)
    pem = site.folder / "site.pem"
    pem.write_bytes((site.folder / "chain.pem").read_bytes() + site.issued.key.read_bytes())
    answer = pem.with_name("site.pem.ocsp")
    pem.with_name("site.pem.issuer").write_bytes(certificate(site.home, site.issued.ca).read_bytes())

    def update() -> None:
        site.fetch(answer)
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(site.folder / "socket"))
            admin.sendall(b"set ssl ocsp-response " + b64encode(answer.read_bytes()) + b"\n")
            assert b"updated" in admin.recv(1000)

    site.fetch(answer)
    with daemon(["haproxy", "-db", "-f", file], site.port, site.folder / "haproxy.log"):
        yield update


@contextmanager
def slapd(site: Site) -> Iterator[None]:
    """OpenLDAP over TLS, with nothing in it."""
    file = site.write("slapd.conf", _SLAPD)
    command: list[str | Path] = ["slapd", "-h", f"ldaps://127.0.0.1:{site.port}", "-f", file, "-d", "0"]
    with daemon(command, site.port, site.folder / "slapd.log"):
        yield


@contextmanager
def tomcat(site: Site) -> Iterator[None]:
    """It wants a certificate of each client and asks about it."""
    conf = site.folder / "conf"
    for each in ("conf", "logs", "temp", "webapps", "work"):
        (site.folder / each).mkdir()
    site.write("conf/server.xml", _TOMCAT)
    (conf / "java.security").write_text("ocsp.enable=true\n")
    run("keytool", "-importcert", "-noprompt", "-alias", "root", "-file", certificate(site.home, "root"),
        "-keystore", site.folder / "roots.p12", "-storetype", "PKCS12", "-storepass", "changeit")  # fmt: skip
    share = "/usr/share/tomcat10"
    command: list[str | Path] = [
        "java", "-Xmx128m", f"-Djava.security.properties={conf / 'java.security'}", f"-Dcatalina.home={share}",
        f"-Dcatalina.base={site.folder}", f"-Djava.io.tmpdir={site.folder / 'temp'}",
        "-cp", f"{share}/bin/bootstrap.jar:{share}/bin/tomcat-juli.jar",
        "org.apache.catalina.startup.Bootstrap", "start",
    ]  # fmt: skip
    log = site.folder / "tomcat.log"
    with daemon(command, site.port, log):
        until(lambda: "Server startup" in log.read_text(), "Tomcat has not started")
        yield


def stapled(site: Site) -> str | None:
    """The status in what the server staples, which ``openssl`` has verified; None when it staples nothing."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-servername", HOST, "-status",
         "-CAfile", str(certificate(site.home, "root"))],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    output = done.stdout.decode(errors="replace")
    if "OCSP Response Status: successful" not in output:
        assert "no response sent" in output, output
        return None
    return output.partition("Cert Status: ")[2].split("\n")[0]
