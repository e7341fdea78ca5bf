"""Join tokens over real TLS: a delegate's listener, newcomers, and those who would like to be one of them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest
import structlog
from click.testing import CliRunner
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from peerd import __main__ as main
from peerd import daemon
from peerd.config import EnrolmentConfig, NetworkConfig
from peerd.enrolment import EnrolmentServer, Redeemer, Tokens, parse_token, redeem, server, wire
from peerd.enrolment.attempts import PER_SOURCE
from peerd.enrolment.redeemer import public_key_der
from peerd.enrolment.tokens import pin_of
from peerd.errors import (
    ConflictError,
    DeniedError,
    InvalidInputError,
    PeerdError,
    UnavailableError,
)
from peerd.membership import Authority, Bundle, Identity, PeerState, certificates
from peerd.membership.roster import Refused, Roster
from peerd.membership.tls import enrolment_ssl_context
from peerd.membership.trust import Trust

LOCAL = EnrolmentConfig(listen="127.0.0.1:0")


class Delegate:
    """One peer's enrolment server, and what it published."""

    def __init__(self, folder: Path, config: EnrolmentConfig = LOCAL) -> None:
        self.state = PeerState.load(folder)
        self.roster = Roster("lab", Trust("lab", self.state.authorities), 100, self.state.peer_id)
        self.hear(*self.state.records)
        self.published: list[bytes] = []
        self.wall = time.time
        self.redeemer = Redeemer(self.state, self.roster, Tokens(secrets.token_bytes), lambda: self.wall())
        self.server = EnrolmentServer(
            config=config,
            state_dir=folder,
            redeemer=self.redeemer,
            tls=enrolment_ssl_context(self.state),
            on_admitted=self.published.extend,
            log=structlog.get_logger(),
            clock=lambda: 5.0,
        )

    def hear(self, *records: bytes) -> None:
        for record in records:
            assert not isinstance(self.roster.offer(record, time.time()), Refused)

    async def invite(self, name: str = "", expires_in: float = 60.0) -> str:
        return await self.server.invite(name, expires_in, "192.0.2.1:9101")


@contextlib.asynccontextmanager
async def serving(delegate: Delegate):
    delegate.server.bind()
    task = asyncio.create_task(delegate.server.serve())
    try:
        yield delegate
    finally:
        task.cancel()
        await asyncio.wait({task})
        delegate.server.close()
        if not task.cancelled():
            task.result()


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab"))


@pytest.fixture
def folder(authority, tmp_path):
    """The state directory of a delegate."""
    authority.enroll_local("dele", "127.0.0.1:1", tmp_path / "dele")
    authority.delegate("dele")[1].install(tmp_path / "dele")
    return tmp_path / "dele"


@pytest.fixture
async def delegate(folder):
    async with serving(Delegate(folder)) as delegate:
        yield delegate


@pytest.fixture
def newcomer(tmp_path):
    """Made anew for each name."""
    return lambda name="nora": Identity.create(tmp_path / name, name, "127.0.0.1:2")


async def test_a_token_makes_a_newcomer_a_peer(delegate, newcomer, tmp_path):
    nora = newcomer()
    bundle = await redeem(parse_token(await delegate.invite()), nora)
    bundle.install(tmp_path / "nora")
    state = PeerState.load(tmp_path / "nora")
    assert (state.name, state.network) == ("nora", delegate.state.network)
    assert [d.name for d in state.roster] == ["dele", "nora"]
    delegate.hear(*delegate.published)
    assert delegate.roster.member(nora.peer_id).issuer == delegate.state.peer_id
    assert delegate.roster.descriptor(nora.peer_id).address == "127.0.0.1:2"


async def test_nobody_else_can_use_it_and_its_owner_can_ask_again(delegate, newcomer):
    token, nora = parse_token(await delegate.invite()), newcomer()
    await redeem(token, nora)
    with pytest.raises(DeniedError, match="used already"):
        await redeem(token, newcomer("oscar"))
    again = await redeem(token, nora)
    assert again.peer_id == nora.peer_id


async def test_a_restart_forgets_no_token_and_no_use(folder, newcomer):
    async with serving(Delegate(folder)) as before:
        used, fresh = parse_token(await before.invite()), parse_token(await before.invite())
        await redeem(used, newcomer())
        listen = f"127.0.0.1:{before.server.port}"
    assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
    for token in (used, fresh):
        assert token.secret not in (folder / "tokens.json").read_bytes()
    async with serving(Delegate(folder, EnrolmentConfig(listen=listen))):
        with pytest.raises(DeniedError, match="used already"):
            await redeem(used, newcomer("oscar"))
        await redeem(fresh, newcomer("olga"))


async def test_a_broken_file_of_tokens_makes_them_all_worthless(folder, newcomer):
    async with serving(Delegate(folder)) as before:
        token = parse_token(await before.invite())
        listen = f"127.0.0.1:{before.server.port}"
    (folder / "tokens.json").write_bytes(b"[{")
    async with serving(Delegate(folder, EnrolmentConfig(listen=listen))) as after:
        with pytest.raises(DeniedError, match="did not make that token"):
            await redeem(token, newcomer())
        await redeem(parse_token(await after.invite()), newcomer("olga"))


async def test_an_expired_one_and_another_name_are_refused(delegate, newcomer):
    named, short = parse_token(await delegate.invite("oscar")), parse_token(await delegate.invite())
    nora = newcomer()
    with pytest.raises(DeniedError, match="another name"):
        await redeem(named, nora)
    now = time.time()
    delegate.wall = lambda: now + 61.0
    with pytest.raises(DeniedError, match="expired"):
        await redeem(short, nora)


async def test_a_name_that_is_taken(delegate, newcomer, tmp_path):
    token = parse_token(await delegate.invite())
    impostor = Identity.create(tmp_path / "impostor", "dele", "127.0.0.1:2")
    with pytest.raises(ConflictError, match="a peer named dele is enrolled already"):
        await redeem(token, impostor)
    await redeem(token, newcomer())


async def test_who_is_no_delegate_makes_no_tokens_and_takes_none(authority, newcomer, tmp_path):
    authority.enroll_local("alice", "127.0.0.1:1", tmp_path / "alice").install(tmp_path / "alice")
    async with serving(Delegate(tmp_path / "alice")) as alice:
        with pytest.raises(DeniedError, match="peerctl network delegate"):
            await alice.invite()
        alice.hear(authority.delegate("alice")[0])
        token = parse_token(await alice.invite())
        alice.hear(authority.revoke("alice"))
        with pytest.raises(DeniedError, match="may not sign in others"):
            await redeem(token, newcomer())


async def test_without_a_listener_there_are_no_tokens(folder):
    async with serving(Delegate(folder, EnrolmentConfig())) as delegate:
        with pytest.raises(ConflictError, match=r"\[enrolment\] listen"):
            await delegate.invite()


# -- addresses -------------------------------------------------------------------------------------


async def test_a_listener_on_all_addresses_is_named_by_the_links_host(folder, newcomer):
    async with serving(Delegate(folder, EnrolmentConfig(listen="0.0.0.0:0"))) as delegate:
        text = await delegate.server.invite("", 60.0, "localhost:9101")
        assert text.endswith(f".localhost:{delegate.server.port}")
        await redeem(parse_token(text), newcomer())
        text = await delegate.server.invite("", 60.0, "[2001:db8::1]:9101")
        assert text.endswith(f".[2001:db8::1]:{delegate.server.port}")


async def test_a_port_in_use_and_an_address_of_somebody_else(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=r"\[enrolment\] listen: 127.0.0.1:\d+ cannot be bound"):
            Delegate(folder, EnrolmentConfig(listen=f"127.0.0.1:{port}")).server.bind()
    with pytest.raises(InvalidInputError, match=r"\[enrolment\] listen: 192.0.2.77:0 cannot be bound"):
        Delegate(folder, EnrolmentConfig(listen="192.0.2.77:0")).server.bind()
    with pytest.raises(InvalidInputError, match="no such host"):
        Delegate(folder, EnrolmentConfig(listen="no.such.host.invalid:1")).server.bind()


# -- who is at the other end -----------------------------------------------------------------------


@pytest.fixture
async def middleman(authority, tmp_path):
    """Another member of the network that answers in the delegate's place: it keeps all that it reads."""
    authority.enroll_local("mallory", "127.0.0.1:3", tmp_path / "mallory").install(tmp_path / "mallory")
    state = PeerState.load(tmp_path / "mallory")
    context, pin = enrolment_ssl_context(state), pin_of(public_key_der(state.certificate))
    heard, ended = bytearray(), asyncio.Event()

    async def listen(reader, writer):
        """TLS by hand, to its very end: also what comes with a connection that is cut."""
        came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(came, out, server_side=True)
        done = False
        with contextlib.suppress(OSError):
            while not heard and (data := await reader.read(10_000)):
                came.write(data)
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                    if not done:
                        tls.do_handshake()
                        done = True
                    while data := tls.read(1000):
                        heard.extend(data)
                writer.write(out.read())
        writer.close()
        ended.set()

    listening = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield SimpleNamespace(port=port, heard=heard, ended=ended, pin=pin)
    listening.close()


async def test_a_man_in_the_middle_gets_no_secret(delegate, middleman, newcomer):
    token = parse_token(await delegate.invite())
    misled = type(token)(token.secret, token.pin, f"127.0.0.1:{middleman.port}")
    nora = newcomer()
    with pytest.raises(DeniedError, match="nothing was sent"):
        await redeem(misled, nora)
    await asyncio.wait_for(middleman.ended.wait(), 20)
    assert middleman.heard == b""
    pinned = type(token)(token.secret, middleman.pin, misled.address)
    with pytest.raises(UnavailableError, match="closed the connection"):
        await redeem(pinned, nora)
    assert middleman.heard != b"", "it would have heard it"
    await redeem(token, nora)


async def answering(data: bytes, context: ssl.SSLContext):
    """A server with the delegate's key that gives this answer, whatever it is asked."""

    async def answer(reader, writer):
        with contextlib.suppress(OSError, EOFError):
            await reader.readexactly(wire.length_of(await reader.readexactly(4)))
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)


async def test_only_the_delegates_own_bundle_for_this_newcomer_is_taken(
    authority, delegate, newcomer, tmp_path
):
    token, nora, oscar = parse_token(await delegate.invite()), newcomer(), newcomer("oscar")
    authority.enroll_local("eve", "127.0.0.1:4", tmp_path / "eve")
    authority.delegate("eve")[1].install(tmp_path / "eve")
    eve = Delegate(tmp_path / "eve")
    secret, _ = eve.redeemer.invite("", 60.0)
    by_eve = eve.redeemer.redeem(wire.Ask(secret, nora.request())).bundle
    for_oscar = (await redeem(token, oscar)).encoded
    by_authority = authority.enroll(nora.request()).encoded
    too_long = (wire.MAX_ANSWER_BYTES + 1).to_bytes(4, "big")
    cases = [
        (wire.encode_bundle(by_eve), DeniedError, "not signed by the delegate"),
        (wire.encode_bundle(by_authority), DeniedError, "not signed by the delegate"),
        (wire.encode_bundle(for_oscar), DeniedError, "for another peer"),
        (wire.encode_bundle(for_oscar[:-20]), InvalidInputError, "not a bundle"),
        (b"\0\0\0\x02{}", PeerdError, "did not say why"),
        (b"\0\0\0\x01{", InvalidInputError, "not a peerd delegate's"),
        (too_long, InvalidInputError, "not a peerd delegate's"),
        (b"\0\0\0", UnavailableError, "closed the connection"),
        (b"", UnavailableError, "closed the connection"),
    ]
    for data, kind, says in cases:
        fake = await answering(data, enrolment_ssl_context(delegate.state))
        misled = type(token)(token.secret, token.pin, f"127.0.0.1:{fake.sockets[0].getsockname()[1]}")
        with pytest.raises(kind, match=says) as told:
            await redeem(misled, nora)
        assert "\n" not in str(told.value)
        fake.close()


async def test_nobody_answers(delegate, newcomer):
    token, nora = parse_token(await delegate.invite()), newcomer()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = type(token)(token.secret, token.pin, f"127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
            await redeem(silent, nora, timeout=0.2)
    with pytest.raises(UnavailableError, match="cannot ask to join"):
        await redeem(silent, nora)
    lost = type(token)(token.secret, token.pin, "no.such.host.invalid:1")
    with pytest.raises(UnavailableError, match="cannot ask to join"):
        await redeem(lost, nora)


# -- strangers -------------------------------------------------------------------------------------


def careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def say(port: int, data: bytes, *, end: bool = False) -> bytes:
    """All that the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=careless())
    try:
        writer.write(data)
        if end:
            writer.close()
            return b""
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xff\xff\xff", "too large"),
        ((wire.MAX_REQUEST_BYTES + 1).to_bytes(4, "big") + b"x" * 1000, "too large"),
        (b"\0\0\0\x05hello", "not an enrolment request"),
        (b"\0\0\0\0", "not an enrolment request"),
        (wire.encode_ask(wire.Ask(bytes(10), b"{}")), "not a valid enrolment request"),
        (wire.encode_ask(wire.Ask(bytes(10), b"[" * 40_000)), "not a valid enrolment request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "too large"),
    ],
)
async def test_garbage_is_answered_and_does_no_harm(delegate, newcomer, data, says):
    answer = await say(delegate.server.port, data)
    assert says in answer.decode("utf-8", "replace")
    await redeem(parse_token(await delegate.invite()), newcomer())


async def test_a_wrong_secret_is_refused_however_often(delegate, newcomer):
    token, nora = parse_token(await delegate.invite()), newcomer()
    wrong = type(token)(bytes(10), token.pin, token.address)
    for _ in range(PER_SOURCE):
        with pytest.raises(DeniedError, match="did not make that token"):
            await redeem(wrong, nora)
    with pytest.raises(UnavailableError):  # who fails so often is not heard any more
        await redeem(token, nora)
    assert delegate.published == []


async def test_no_plain_text_no_old_tls_and_no_talk_ends_the_server(delegate, newcomer):
    port = delegate.server.port
    for data in (b"", b"\x16\x03\x01", b"hello\n" * 100):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.close()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(reader.read(), 20)
    old = careless()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection("127.0.0.1", port, ssl=old)
    await say(port, b"\0\0", end=True)
    await redeem(parse_token(await delegate.invite()), newcomer())


async def test_who_says_nothing_is_hung_up_on(folder, newcomer, monkeypatch):
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.3)
    async with serving(Delegate(folder)) as delegate:
        assert await say(delegate.server.port, b"\0") == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", delegate.server.port)
        assert await asyncio.wait_for(reader.read(), 20) == b""  # not even a handshake
        writer.close()
        monkeypatch.undo()
        await redeem(parse_token(await delegate.invite()), newcomer())


async def test_few_are_heard_at_a_time(delegate, newcomer, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    port = delegate.server.port
    idle = [await asyncio.open_connection("127.0.0.1", port, ssl=careless()) for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    for _, busy in idle:
        busy.transport.abort()
    monkeypatch.undo()
    await redeem(parse_token(await delegate.invite()), newcomer())


async def test_a_full_disk_refuses_and_the_token_stays_its_owners(delegate, newcomer, monkeypatch):
    token, nora = parse_token(await delegate.invite()), newcomer()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(server, "write_secret", full)
        with pytest.raises(UnavailableError, match="disk is full"):
            await redeem(token, nora)
        with pytest.raises(UnavailableError, match="No space left"):
            await delegate.invite()
    assert delegate.published == []
    assert (await redeem(token, nora)).peer_id == nora.peer_id


async def test_no_private_key_leaves_the_newcomer(delegate, newcomer, monkeypatch):
    sent = []
    original = wire.encode_ask
    monkeypatch.setattr(wire, "encode_ask", lambda ask: sent.append(original(ask)) or sent[-1])
    nora = newcomer()
    bundle = await redeem(parse_token(await delegate.invite()), nora)
    assert isinstance(bundle, Bundle)
    secret = nora.link_key_pem.splitlines()[1]
    for data in (*sent, bundle.encoded, *delegate.published):
        assert secret not in data
        assert nora._identity.private_bytes_raw() not in data


# -- the control API, whose TLS is another library's -----------------------------------------------


@contextlib.asynccontextmanager
async def control(state: PeerState):
    """A gRPC server with a peer's certificates, as `control.ControlServer` makes it: its port."""
    grpc_server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, grpc_server)
    credentials = grpc.ssl_server_credentials(
        [(state.link_key_pem, state.certificate_pem)],
        root_certificates=state.ca_pem,
        require_client_auth=True,
    )
    port = grpc_server.add_secure_port("127.0.0.1:0", credentials)
    await grpc_server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    yield port
    await grpc_server.stop(None)


async def check(port: int, name: str, ca: bytes, key: bytes, chain: bytes) -> bool:
    """Whether an operator with these credentials reaches the peer of this name."""
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    options = [("grpc.ssl_target_name_override", f"{name}.peerd"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False
        return True


async def test_operators_reach_whom_a_delegate_has_signed_in_and_no_delegate_makes_operators(
    authority, delegate, newcomer, tmp_path
):
    (await redeem(parse_token(await delegate.invite()), newcomer())).install(tmp_path / "nora")
    nora = PeerState.load(tmp_path / "nora")
    authority.operator("ops", "admin", tmp_path / "ops")
    ca, key, certificate = ((tmp_path / "ops" / n).read_bytes() for n in ("ca.pem", "ops.key", "ops.pem"))
    dele = delegate.state
    own = certificates.new_key()
    forged = certificates.operator_certificate(
        "eve", "admin", own.public_key(), dele.delegation, dele.identity.link_key
    )
    chain = certificates.pem(forged) + certificates.pem(dele.delegation)
    async with control(nora) as port:
        assert await check(port, "nora", ca, key, certificate)
        assert not await check(port, "nora", ca, certificates.key_pem(own), chain)
    authority.rotate_ca()
    between = dele.renewed(authority.authorities, authority.peers[0].certificate, None)
    authority.operator("ops", "admin", tmp_path / "new")
    files = [(tmp_path / "new" / n).read_bytes() for n in ("ca.pem", "ops.key", "ops.pem")]
    async with control(between) as port:
        assert await check(port, "dele", *files)
        assert await check(port, "dele", files[0], key, certificate)
        assert not await check(port, "dele", ca, key, certificate)  # that one knows the old CA alone
    authority.finish_rotation()
    async with control(between.renewed(authority.authorities, between.certificate, None)) as port:
        assert await check(port, "dele", *files)
        assert not await check(port, "dele", files[0], key, certificate)


# -- the command -----------------------------------------------------------------------------------


def peerd(*arguments: object, stdin: str = ""):
    """In this process: exit code and output as a shell sees them."""
    return CliRunner().invoke(main.cli, [str(argument) for argument in arguments], input=stdin)


@pytest.mark.parametrize("hidden", [False, True])
async def test_peerd_joins_with_a_token(delegate, tmp_path, hidden):
    folder = tmp_path / "nora"
    made = peerd("init", "--state-dir", folder, "--name", "nora", "--address", "127.0.0.1:2")
    assert "peerctl network sign NETWORK request.json" in made.stdout
    assert f"peerd join --state-dir {folder} --token TOKEN" in made.stdout
    text = await delegate.invite("nora")
    given, stdin = ("-", f"{text}\n") if hidden else (text, "")
    joined = await asyncio.to_thread(peerd, "join", "--state-dir", folder, "--token", given, stdin=stdin)
    assert joined.exit_code == 0, joined.output
    assert "Joined lab as nora; other peers known so far: 1." in joined.stdout
    assert PeerState.load(folder).chain[1] == delegate.state.delegation


async def test_peerd_join_needs_one_of_two(tmp_path):
    for arguments in ((), ("--token", "x", tmp_path / "a.bundle")):
        failed = peerd("join", "--state-dir", tmp_path, *arguments)
        assert isinstance(failed.exception, InvalidInputError)
        assert "either a BUNDLE or --token" in str(failed.exception)
    failed = peerd("join", "--state-dir", tmp_path, "--token", "peerd-join.x")
    assert "not a join token" in str(failed.exception)


async def test_peerd_run_keeps_what_is_newer_than_the_bundle_it_is_told_to_install(
    authority, newcomer, tmp_path, monkeypatch
):
    nora = newcomer()
    old, new = authority.sign(nora.request()), authority.sign(nora.request())
    new.install(tmp_path / "nora")
    (tmp_path / "old.bundle").write_bytes(old.encoded)
    served = []

    async def serve(_started, folder, *_rest):
        served.append(PeerState.load(folder).certificate)

    monkeypatch.setattr(daemon, "serve", serve)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)  # only the main thread may
    ran = await asyncio.to_thread(
        peerd, "run", "--state-dir", tmp_path / "nora", "--bundle", tmp_path / "old.bundle"
    )
    assert ran.exit_code == 0, ran.output
    assert "old.bundle: not installed: " in ran.stderr
    assert served == [new.chain[0]]
