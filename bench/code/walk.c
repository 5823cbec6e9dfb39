/* Members of structs, through several pointers: bytes asked of each regular file, by user. */
#include "common.h"

struct kuid { u32 val; } CORE;
struct cred { struct kuid uid, euid; } CORE;
struct super_block { u32 s_dev; u64 s_magic; } CORE;
struct inode { u16 i_mode; struct super_block *i_sb; u64 i_ino; long long i_size; } CORE;
struct file { u32 f_flags; struct inode *f_inode; struct cred *f_cred; } CORE;

struct key { u64 inode; u32 device; u32 user; };

struct {
	__uint(type, HASH);
	__uint(max_entries, 10240);
	__type(key, struct key);
	__type(value, u64);
} reads SEC(".maps");

SEC("kprobe.multi")
int walk(struct pt_regs *ctx)
{
	struct file *file = (struct file *)ARG1(ctx);
	struct inode *inode;
	struct key key;
	u64 *n, size;

	RUN_IF_ACTIVE;
	inode = MEMBER(file, f_inode);
	if ((MEMBER(inode, i_mode) & 0170000) != 0100000)
		return 0;
	size = ARG3(ctx);
	key.inode = MEMBER(inode, i_ino);
	key.device = MEMBER(MEMBER(inode, i_sb), s_dev);
	key.user = MEMBER(MEMBER(file, f_cred), uid.val);
	n = bpf_map_lookup_elem(&reads, &key);
	if (n) {
		__sync_fetch_and_add(n, size);
		return 0;
	}
	if (bpf_map_update_elem(&reads, &key, &size, NOEXIST)) {
		n = bpf_map_lookup_elem(&reads, &key);
		if (n)
			__sync_fetch_and_add(n, size);
		else
			COUNT_LOST(full_maps);
	}
	return 0;
}
