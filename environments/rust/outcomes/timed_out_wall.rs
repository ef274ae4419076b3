use std::thread;
use std::time::Duration;

fn main() {
    println!("sleeping");
    thread::sleep(Duration::from_secs(3600));
}
