//! Which folders lie on network drives, whose changes by other machines the system does not tell of.

use std::path::Path;

/// File systems of network drives, as Linux names them.
const REMOTE: [&str; 12] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.rclone", "virtiofs"];

/// Whether a folder is on a network drive. Where the system does not say, it is not.
pub fn is_remote(folder: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    folder.canonicalize().is_ok_and(|folder| REMOTE.contains(&kind(&folder, &mounts)))
}

/// The kind of the file system that holds a folder, by Linux's list: device, place, kind and more, a line each.
fn kind<'a>(folder: &Path, mounts: &'a str) -> &'a str {
    let mut found = (0, "");
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(place), Some(kind)) = (fields.next(), fields.next()) {
            let place = place.replace("\\040", " ");
            // Of two at the same place the later one covers the other.
            if folder.starts_with(&place) && place.len() >= found.0 {
                found = (place.len(), kind);
            }
        }
    }
    found.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\nnas:/p /mnt/my\\040photos nfs4 rw 0 0\n/dev/sdb /mnt/my\\040photos/local ext4 rw 0 0\n";
        for (folder, found) in [
            ("/home", "ext4"),
            ("/mnt/my photos/2024", "nfs4"),
            ("/mnt/my photosets", "ext4"),
            ("/mnt/my photos/local/a", "ext4"),
        ] {
            assert_eq!(kind(Path::new(folder), mounts), found, "{folder}");
        }
        assert_eq!(kind(Path::new("/home"), ""), "");
    }
}
