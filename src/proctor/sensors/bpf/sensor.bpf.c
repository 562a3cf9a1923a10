/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the processes of one cgroup do, seen from the kernel's tracepoints: forks, execs, exits, and the system calls
 * that the table `calls` asks for. Raw tracepoints alone: they attach where kprobes, fentry and LSM programs do not,
 * and no process can leave them out. Loads from Linux 6.1 on (cgroup.ancestors).
 *
 * Nothing is lost in silence: each CPU counts what it saw and what the ring had no room for (`counts`).
 *
 * A call is told when it returns, with what the caller's registers held when it entered. On x86-64 seccomp comes before
 * the sys_enter tracepoint (kernel/entry/common.c, syscall_trace_enter), so a call that seccomp answered itself has an
 * exit and no entry: ENTERED tells the two apart.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { FORK = 1, EXEC, EXIT, CALL, MOVE, TYPES = 8 };
/* head.flags */
enum { ENTERED = 1, FOREIGN = 2, CUT = 4, INTO = 8, OUT_OF = 16 };
/* shape.when */
enum { ALWAYS = 0, WRITES, WRITES_HOW, NO_THREAD, NOT_URGENT, ADDRESSED };

#define NRS 512
#define PIECE 4096
#define ARGS 8192
#define ROOM 16384 /* a piece may begin below this */
#define WRITING (03 | 0100 | 01000 | 020000000) /* O_WRONLY|O_RDWR, O_CREAT, O_TRUNC, __O_TMPFILE (asm-generic/fcntl.h) */
#define CLONE_THREAD 0x00010000
#define SIGURG 23
#define TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h */
#define AT_FDCWD (-100)
#define MAX_ERRNO 4095

struct head {
	u64 time;   /* CLOCK_MONOTONIC, ns */
	u64 start;  /* start of the process since boot, ns */
	u64 cgroup; /* id of the caller's cgroup */
	s64 ret;
	u64 args[6];
	u32 pid, tid, ppid, uid; /* in the reader's PID namespace; 0: not in it */
	s32 nr;
	u16 type, flags;
	u16 size[8]; /* of each piece of what follows, in its order */
};
struct record { struct head head; u8 data[ROOM + ARGS]; };

struct shape {
	u8 wanted, when, flags; /* flags: the argument that `when` looks at */
	s8 folder, path;        /* arguments; -1: none. folder: a descriptor that path is relative to */
	s8 folder2, path2;
	s8 address, length;     /* a struct sockaddr and its length */
	s8 descriptor;          /* a descriptor that the call changes the file of */
	u8 opens;               /* it returns a descriptor */
	u8 forks;               /* its child returns from it too */
};
struct config {
	u64 cgroup; /* id */
	u32 level;  /* how deep it lies in the tree */
	u32 pidns;  /* inode number of the reader's PID namespace */
	u32 detail; /* paths, arguments and addresses are told too */
	u32 wake;   /* bytes in the ring at which the reader is woken; 0: at once */
};
struct count { u64 seen[TYPES], dropped[TYPES], blind; };
struct pending { u64 nr, args[6]; u32 foreign, inside; };

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct config); } config SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, NRS); __type(key, u32); __type(value, struct shape); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct record); } scratch SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct count); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct pending); } pendings SEC(".maps");

static __always_inline struct config *configured(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&config, &zero);
}

static __always_inline struct record *scratched(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline struct count *counted(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&counts, &zero);
}

/* Whether a cgroup is the watched one or lies below it. */
static __always_inline bool below(struct cgroup *group, struct config *c)
{
	int level = BPF_CORE_READ(group, level);
	struct cgroup *ancestor = 0;

	if (level < (int)c->level || c->level > 64)
		return false;
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
			      (void *)group + bpf_core_field_offset(struct cgroup, ancestors) + c->level * sizeof(void *));
	return ancestor && BPF_CORE_READ(ancestor, kn, id) == c->cgroup;
}

static __always_inline bool inside(struct task_struct *task, struct config *c)
{
	struct cgroup *group = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	return group && below(group, c);
}

/* The number of a struct pid in the reader's namespace. */
static __always_inline u32 number(struct pid *pid, struct config *c)
{
	u32 level = BPF_CORE_READ(pid, level);

	for (u32 i = 0; i < 8 && i <= level; i++) {
		struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) + i * bpf_core_type_size(struct upid);
		if (BPF_CORE_READ(at, ns, ns.inum) == c->pidns)
			return BPF_CORE_READ(at, nr);
	}
	return 0;
}

static __always_inline u32 process(struct task_struct *task, struct config *c)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[1]);
	return pid ? number(pid, c) : 0;
}

/*
 * Where in a record a piece goes that begins at `at`, which is below ROOM. The mask changes nothing, but 6.1's verifier
 * forgets a bound that was spilled in 32 bits, and sees this one.
 */
static __always_inline void *place(struct record *r, u32 at)
{
	u64 offset = at;

	barrier_var(offset);
	return r->data + (offset & (ROOM - 1));
}

static __always_inline struct record *begin(u16 type, struct task_struct *task, struct config *c)
{
	struct record *r = scratched();
	struct count *n = counted();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);

	if (!r || !n)
		return 0;
	n->seen[type & (TYPES - 1)]++;
	__builtin_memset(&r->head, 0, sizeof(r->head));
	r->head.type = type;
	r->head.time = bpf_ktime_get_ns();
	r->head.start = BPF_CORE_READ(task, group_leader, start_boottime);
	r->head.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	r->head.pid = process(task, c);
	r->head.tid = pid ? number(pid, c) : 0;
	r->head.ppid = process(BPF_CORE_READ(task, real_parent), c);
	r->head.uid = bpf_get_current_uid_gid();
	return r;
}

static __always_inline void finish(struct record *r, u64 size, struct config *c)
{
	struct count *n;
	u64 flags = 0;

	if (c->wake)
		flags = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= c->wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	barrier_var(size);
	if (size > ROOM + ARGS - 1)
		size = ROOM + ARGS - 1;
	if (bpf_ringbuf_output(&ring, r, sizeof(struct head) + size, flags)) {
		n = counted();
		if (n)
			n->dropped[r->head.type & (TYPES - 1)]++;
	}
}

/*
 * Append the names on the way from `dentry` up to the root that its reader sees, each ended by NUL, leaf first; return
 * the new offset. A global function: the verifier looks at it once. All are kernel addresses, only ever read from.
 */
__noinline int walk(u64 dentry, u64 mnt, u64 root_dentry, u64 root_mnt, int from)
{
	struct record *r = scratched();
	struct mount *m = (void *)(mnt - bpf_core_field_offset(struct mount, mnt));
	struct dentry *d = (void *)dentry;
	u32 at = from;

	if (!r)
		return from;
	for (int i = 0; i < 80; i++) {
		struct dentry *parent, *top;
		struct mount *outer;
		long n;

		if ((u64)d == root_dentry && (u64)m + bpf_core_field_offset(struct mount, mnt) == root_mnt)
			return at;
		parent = BPF_CORE_READ(d, d_parent);
		top = BPF_CORE_READ(m, mnt.mnt_root);
		if (d == top) {
			outer = BPF_CORE_READ(m, mnt_parent);
			if (!outer || outer == m)
				return at;
			d = BPF_CORE_READ(m, mnt_mountpoint);
			m = outer;
			continue;
		}
		if (!parent || d == parent)
			return at;
		if (at >= ROOM || at - (u32)from > PIECE - 256)
			break;
		n = bpf_probe_read_kernel_str(place(r, at), 256, BPF_CORE_READ(d, d_name.name));
		if (n < 0)
			break;
		at += n;
		d = parent;
	}
	r->head.flags |= CUT;
	return at;
}

static __always_inline u32 walked(struct path *path, struct task_struct *task, u32 at)
{
	u64 dentry = 0, mnt = 0, root_dentry, root_mnt;
	int end;

	bpf_probe_read_kernel(&dentry, sizeof(dentry), (void *)path + bpf_core_field_offset(struct path, dentry));
	bpf_probe_read_kernel(&mnt, sizeof(mnt), (void *)path + bpf_core_field_offset(struct path, mnt));
	root_dentry = (u64)BPF_CORE_READ(task, fs, root.dentry);
	root_mnt = (u64)BPF_CORE_READ(task, fs, root.mnt);
	if (!dentry || !mnt)
		return at;
	end = walk(dentry, mnt, root_dentry, root_mnt, at);
	return end < 0 || end > ROOM + 512 ? at : end;
}

static __always_inline struct file *file_of(struct task_struct *task, s64 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **fds = BPF_CORE_READ(table, fd), *file = 0;

	if (fd < 0 || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), fds + fd);
	return file;
}

static __always_inline u32 file_path(struct file *file, struct task_struct *task, u32 at)
{
	return file ? walked((void *)file + bpf_core_field_offset(struct file, f_path), task, at) : at;
}

/* Append a string of the caller's memory, with its NUL. */
static __always_inline u32 text(struct record *r, u64 from, u32 at)
{
	long n;

	if (at >= ROOM)
		return at;
	n = bpf_probe_read_user_str(place(r, at), PIECE, (void *)from);
	if (n < 0) {
		r->head.flags |= CUT;
		return at;
	}
	return at + n;
}

/* The folder that a path is relative to: a descriptor's, or the working folder. */
static __always_inline u32 folder(struct task_struct *task, s32 fd, u32 at)
{
	if (fd == AT_FDCWD) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		return walked((void *)fs + bpf_core_field_offset(struct fs_struct, pwd), task, at);
	}
	return file_path(file_of(task, fd), task, at);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct config *c = configured();
	struct record *r;
	bool from, to;

	if (!c)
		return 0;
	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; /* a thread */
	from = inside(parent, c);
	to = inside(child, c);
	if (!from && !to)
		return 0;
	r = begin(FORK, parent, c);
	if (!r)
		return 0;
	r->head.flags = from ? (to ? 0 : OUT_OF) : INTO;
	r->head.args[0] = process(child, c);
	r->head.args[1] = BPF_CORE_READ(child, start_boottime);
	finish(r, 0, c);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old, struct linux_binprm *bprm)
{
	struct config *c = configured();
	struct record *r;
	u64 from, length;
	u32 at = 0, was = 0;
	long n;

	if (!c || !inside(task, c))
		return 0;
	r = begin(EXEC, task, c);
	if (!r)
		return 0;
	r->head.args[0] = BPF_CORE_READ(bprm, argc);
	r->head.args[1] = BPF_CORE_READ(task, mm, arg_start);
	if (!c->detail) {
		finish(r, 0, c);
		return 0;
	}
	n = bpf_probe_read_kernel_str(r->data, PIECE, BPF_CORE_READ(bprm, filename));
	at = n > 0 ? n & (PIECE * 2 - 1) : 0;
	r->head.size[0] = was = at;
	from = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - from;
	if (length > ARGS - 1) {
		length = ARGS - 1;
		r->head.flags |= CUT;
	}
	barrier_var(length);
	length &= ARGS - 1;
	if (at < ROOM && !bpf_probe_read_user(place(r, at), length, (void *)from))
		at += length;
	else
		r->head.flags |= CUT;
	r->head.size[1] = at - was;
	was = at;
	at = file_path(BPF_CORE_READ(task, mm, exe_file), task, at);
	r->head.size[2] = at - was;
	was = at;
	at = folder(task, AT_FDCWD, at);
	r->head.size[3] = at - was;
	finish(r, at, c);
	return 0;
}

/* Told by the thread that found no other left; two that end at the same moment may both tell. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_process_exit, struct task_struct *task)
{
	struct config *c = configured();
	struct record *r;
	int code;

	if (!c || !inside(task, c) || BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	r = begin(EXIT, task, c);
	if (!r)
		return 0;
	code = BPF_CORE_READ(task, signal, group_exit_code);
	r->head.ret = code ? code : BPF_CORE_READ(task, exit_code);
	finish(r, 0, c);
	return 0;
}

/* A process was moved from one cgroup to another, by somebody who may. Only one that was seen inside can be seen to leave. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, struct cgroup *to, const char *path, struct task_struct *task)
{
	struct config *c = configured();
	struct pending *p;
	struct record *r;
	bool is;

	if (!c)
		return 0;
	is = below(to, c);
	p = bpf_task_storage_get(&pendings, task, 0, 0);
	if (!is && !(p && p->inside))
		return 0;
	r = begin(MOVE, task, c);
	if (!r)
		return 0;
	r->head.flags = is ? INTO : OUT_OF;
	finish(r, 0, c);
	return 0;
}

static __always_inline bool matters(struct shape *s, u64 args[6])
{
	u64 how = 0;

	switch (s->when) {
	case WRITES:
		return (s->flags == 1 ? args[1] : args[2]) & WRITING;
	case WRITES_HOW: /* struct open_how begins with its flags */
		bpf_probe_read_user(&how, sizeof(how), (void *)args[2]);
		return how & WRITING;
	case NO_THREAD:
		return !(args[0] & CLONE_THREAD);
	case NOT_URGENT:
		return (u32)args[2] != SIGURG;
	case ADDRESSED:
		return args[4] != 0;
	}
	return true;
}

static __always_inline bool foreign(struct task_struct *task)
{
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
}

static __always_inline void registers(u64 args[6], struct pt_regs *regs)
{
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
}

static __always_inline void blind(void)
{
	struct count *n = counted();
	if (n)
		n->blind++;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool other = foreign(task);
	u32 key = nr;
	struct shape *s = 0;
	struct config *c;
	struct pending *p;
	struct record *r;
	u64 args[6];

	if (!other) {
		s = key < NRS ? bpf_map_lookup_elem(&calls, &key) : 0;
		if (!s || !s->wanted)
			return 0;
		registers(args, regs);
		if (!matters(s, args))
			return 0;
	}
	c = configured();
	if (!c || !inside(task, c))
		return 0;
	p = bpf_task_storage_get(&pendings, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!p) {
		blind();
		return 0;
	}
	p->inside = 1;
	if (!other) {
		p->nr = nr + 1;
		__builtin_memcpy(p->args, args, sizeof(args));
		return 0;
	}
	p->nr = NRS + 1;
	if (p->foreign)
		return 0; /* told once of each thread: another architecture's numbers and structures are not read */
	p->foreign = 1;
	r = begin(CALL, task, c);
	if (!r)
		return 0;
	r->head.nr = nr;
	r->head.flags = ENTERED | FOREIGN;
	finish(r, 0, c);
	return 0;
}

static __always_inline u64 argument(u64 args[6], s8 which)
{
	switch (which) {
	case 0:
		return args[0];
	case 1:
		return args[1];
	case 2:
		return args[2];
	case 3:
		return args[3];
	case 4:
		return args[4];
	}
	return args[5];
}

static __always_inline u32 details(struct record *r, struct shape *s, struct task_struct *task, s64 ret, u64 args[6])
{
	u32 at = 0, was;
	u64 length;

	if (s->opens && ret >= 0)
		at = file_path(file_of(task, ret), task, 0);
	else if (s->descriptor == 0)
		at = file_path(file_of(task, (s32)args[0]), task, 0);
	r->head.size[0] = was = at;
	if (s->address >= 0) {
		u64 from = argument(args, s->address);
		length = argument(args, s->length);
		if (length > 127)
			length = 127;
		barrier_var(length);
		length &= 127;
		if (at < ROOM && !bpf_probe_read_user(place(r, at), length, (void *)from))
			at += length;
		r->head.size[1] = at - was;
		return at;
	}
	if (s->path < 0)
		return at;
	at = text(r, argument(args, s->path), at);
	r->head.size[1] = at - was;
	was = at;
	if (s->path2 >= 0)
		at = text(r, argument(args, s->path2), at);
	r->head.size[2] = at - was;
	if (r->head.size[0])
		return at;
	was = at;
	at = folder(task, s->folder < 0 ? AT_FDCWD : (s32)argument(args, s->folder), at);
	r->head.size[3] = at - was;
	was = at;
	if (s->folder2 >= 0)
		at = folder(task, (s32)argument(args, s->folder2), at);
	r->head.size[4] = at - was;
	return at;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_return, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool other = foreign(task);
	long nr = regs->orig_ax;
	u32 key = nr, at = 0;
	u16 flags = 0;
	struct shape *s = 0;
	struct config *c;
	struct pending *p;
	struct record *r;
	u64 args[6];

	if (!other) {
		s = nr >= 0 && key < NRS ? bpf_map_lookup_elem(&calls, &key) : 0;
		if (!s || !s->wanted)
			return 0;
	}
	c = configured();
	if (!c || !inside(task, c))
		return 0;
	p = bpf_task_storage_get(&pendings, task, 0, 0);
	if (p && p->nr == (other ? NRS : nr) + 1) {
		p->nr = 0;
		if (other)
			return 0;
		flags = ENTERED;
		__builtin_memcpy(args, p->args, sizeof(args));
	} else {
		/* A child's first return from the call that made it is no call of its own. */
		if (s && s->forks && ret == 0) /* s: not foreign; 6.1's verifier takes no other word for it */
			return 0;
		registers(args, regs);
		if (s && !matters(s, args))
			return 0;
		/* Entered before the sensor was there, or answered by seccomp, which gives an error or what a supervisor says. */
		flags = other ? FOREIGN : 0;
	}
	r = begin(CALL, task, c);
	if (!r)
		return 0;
	r->head.nr = nr;
	r->head.ret = ret;
	r->head.flags = flags;
	__builtin_memcpy(r->head.args, args, sizeof(args));
	if (s && s->when == WRITES_HOW)
		bpf_probe_read_user(&r->head.args[2], sizeof(u64), (void *)args[2]);
	/* After an exec the arguments' addresses mean nothing any more. */
	if (c->detail && s && !(nr == 59 && ret == 0) && !(nr == 322 && ret == 0))
		at = details(r, s, task, ret, args);
	finish(r, at, c);
	return 0;
}
