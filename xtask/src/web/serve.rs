//! A server of files for this machine alone.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

/// What a browser sends before the body, at most.
const REQUEST: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the folder on loopback, at this port or (0) a free one, until the process ends.
pub(super) fn serve(folder: &Path, port: u16) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("\nhttp://{}/ shows the page until Ctrl-C", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        let folder = folder.clone();
        // A browser that goes away is no concern of the others.
        thread::spawn(move || answer(stream, &folder));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, folder: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = request(&stream)?;
    let words: Vec<&str> = request.split_whitespace().collect();
    let (status, mime, body) = match words[..] {
        ["GET" | "HEAD", target, _] => {
            match file(folder, target).and_then(|path| Some((fs::read(&path).ok()?, path))) {
                Some((body, path)) => ("200 OK", mime(&path), body),
                None => ("404 Not Found", "text/plain", b"not found\n".to_vec()),
            }
        }
        _ => ("405 Method Not Allowed", "text/plain", b"GET or HEAD\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if words.first() != Some(&"HEAD") {
        stream.write_all(&body)?;
    }
    stream.flush()
}

/// The first line of a request, once all its headers have come: closing before that may lose the answer.
fn request(stream: &TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(stream.take(REQUEST)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first)
}

/// The file that a target means, if it lies in the folder: not above it, and not behind a link that leads out.
fn file(folder: &Path, target: &str) -> Option<PathBuf> {
    let target = target.split(['?', '#']).next()?;
    let decoded = decoded(target.strip_prefix('/')?)?;
    let plain = |part: &&str| !part.is_empty() && *part != ".";
    let parts: Vec<&str> = decoded.split('/').filter(plain).collect();
    if parts.iter().any(|part| *part == ".." || part.contains(['\\', ':', '\0'])) {
        return None;
    }
    let path = parts.iter().fold(folder.to_owned(), |path, part| path.join(part));
    let path = if path.is_dir() { path.join("index.html") } else { path };
    path.canonicalize().ok().filter(|path| path.starts_with(folder))
}

/// The text with its `%41` replaced, if that is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Browsers compile a module while it comes only as application/wasm, and run scripts only as JavaScript.
fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "md" | "txt" | "ts" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_folder_are_served_and_nothing_else() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap_or_default();
        let here = Some(folder.join("src/main.rs"));
        for target in ["/src/main.rs", "//src/./main.rs", "/src/main.rs?a=/../b", "/src/%6dain.rs#part"] {
            assert_eq!(file(&folder, target), here, "{target}");
        }
        let above = [
            "/../Cargo.toml",
            "/src/../../Cargo.toml",
            "/%2e%2e/Cargo.toml",
            "/..%2fCargo.toml",
            "/src/..\\..\\Cargo.toml",
            "/..%5cCargo.toml",
            "//etc/passwd",
            "/%2fetc/passwd",
            "/C:/Windows/win.ini",
        ];
        let none =
            ["", "/", "/src", "src/main.rs", "/src/main.rs%00", "/src/main.rs%", "/%zz", "/%ff", "/no.such"];
        for target in above.into_iter().chain(none) {
            assert_eq!(file(&folder, target), None, "{target}");
        }
    }

    #[test]
    fn types_are_those_that_browsers_want() {
        assert_eq!(mime(Path::new("a/b_bg.wasm")), "application/wasm");
        assert!(mime(Path::new("index.js")).starts_with("text/javascript"));
        assert_eq!(mime(Path::new("demo.keras")), "application/octet-stream");
        assert_eq!(mime(Path::new("LICENSE-MIT")), "application/octet-stream");
    }
}
