fn main() {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![b'x'; 1_000_000]);
    }
}
