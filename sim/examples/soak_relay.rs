//! A member of a soak run that has no mind of its own: a server answers for it. Tests of the soak run
//! use it, with servers that do everything right, or one thing wrong.
//!
//! `soak_relay 127.0.0.1:PORT`

use std::{
    env,
    io::{self, Write},
    net::TcpStream,
    process::exit,
    thread,
};

fn main() -> io::Result<()> {
    let server = env::args().nth(1).unwrap_or_default();
    let mut answers = TcpStream::connect(server)?;
    let mut asks = answers.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut asks);
        exit(0);
    });
    let mut out = io::stdout();
    let mut buffer = [0; 4096];
    loop {
        match io::Read::read(&mut answers, &mut buffer)? {
            0 => exit(7),
            bytes => {
                out.write_all(&buffer[..bytes])?;
                out.flush()?;
            }
        }
    }
}
