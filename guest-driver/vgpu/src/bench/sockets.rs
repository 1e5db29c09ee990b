//! What the same calls cost over a socket: a server calls the software GPU, a client sends it the bytes that
//! a virtqueue would carry and waits for as many as a reply has.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{anyhow, Context, Result};

use super::measure::{latency, rate, timed, Clock, Sample, BURST, CALLS, LAUNCHES, PTX, WARM_UP};
use crate::ffi::Driver;

/// Header, command and arguments of `cuMemGetInfo` and of the launch of an empty kernel, bytes.
const CALL: usize = 48;
const LAUNCH: usize = 96;
/// A reply's header and two numbers, bytes.
const REPLY: usize = 80;
/// First byte of a message: what is asked for, which tells its length.
const ASK_MEMORY: u8 = 1;
const ASK_LAUNCH: u8 = 2;
const ASK_SYNCHRONISE: u8 = 3;

/// Measures the calls over a Unix socket.
pub fn over_unix() -> Result<Vec<Sample>> {
    let (client, server) = UnixStream::pair()?;
    measure(client, server)
}

/// Measures the calls over TCP on the loopback interface.
pub fn over_tcp() -> Result<Vec<Sample>> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback interface")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    measure(client, server)
}

fn measure(mut client: impl Read + Write, server: impl Read + Write + Send + 'static) -> Result<Vec<Sample>> {
    let server: JoinHandle<Result<()>> = std::thread::spawn(move || serve(server));
    let round_trip = timed(CALLS, || call(&mut client, ASK_MEMORY))?;
    let mut costs = Vec::with_capacity(CALLS);
    let clock = Clock::new();
    while costs.len() < CALLS {
        for _ in 0..BURST {
            let start = Instant::now();
            client.write_all(&message::<LAUNCH>(ASK_LAUNCH))?;
            costs.push(clock.since(start));
        }
        call(&mut client, ASK_SYNCHRONISE)?;
    }
    costs.drain(..WARM_UP);
    let start = Instant::now();
    for _ in 0..LAUNCHES {
        client.write_all(&message::<LAUNCH>(ASK_LAUNCH))?;
    }
    call(&mut client, ASK_SYNCHRONISE)?;
    let launches = rate("launch_rate", LAUNCHES, start.elapsed());
    drop(client);
    server.join().map_err(|_| anyhow!("the server of the comparison panicked"))??;
    Ok(vec![latency("sync_round_trip", round_trip), latency("async_launch", costs), launches])
}

fn message<const LENGTH: usize>(what: u8) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = what;
    bytes
}

/// A call that waits for its reply.
fn call(client: &mut (impl Read + Write), what: u8) -> io::Result<()> {
    client.write_all(&message::<CALL>(what))?;
    client.read_exact(&mut [0; REPLY])
}

/// Answers until the client has gone.
fn serve(mut stream: impl Read + Write) -> Result<()> {
    let driver = Driver::linked(vgpu_softgpu::driver_api());
    driver.init()?;
    driver.use_device()?;
    let kernel = driver.kernel(PTX, "empty")?;
    let mut bytes = [0; LAUNCH];
    loop {
        match stream.read_exact(&mut bytes[..CALL]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match bytes[0] {
            ASK_LAUNCH => {
                stream.read_exact(&mut bytes[CALL..])?;
                driver.launch(kernel, 1, 1, &mut [])?;
                continue;
            }
            ASK_MEMORY => _ = driver.memory_info()?,
            _ => driver.synchronize()?,
        }
        stream.write_all(&[0; REPLY])?;
    }
}
