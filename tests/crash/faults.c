/* Faults under a process: counts the system calls that change files below one folder, and at the n-th kills the process, fails
 * the call or shortens it; or records every such call with its data, so that the folder can be rebuilt as a power cut leaves it.
 *
 * Calls are caught at the kernel's door, by a seccomp filter whose trap is answered here, and not by replacing libc's functions:
 * Tantivy renames its meta.json by a system call of its own, and libc's stdio (FAISS) writes without asking the dynamic linker.
 * A process forked from one that has loaded this library arms itself by faults_arm(); a program that is started with the library
 * in LD_PRELOAD is armed from FAULTS_ROOT and FAULTS_LOG. See docs/decisions/0005-faults-at-the-system-call.md.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The numbers are those of calls.py. STRANGE is a call that a rebuilt folder could not show: the sweep fails on it. */
enum kind { NONE, CREATE, TRUNCATE, WRITE, SYNC, MKDIR, SYMLINK, RENAME, LINK, UNLINK, RMDIR, NOTE, STRANGE };
enum mode { COUNT, KILL, TEAR, FAIL, SHORTEN };
enum { PATH = 4096 };

static struct {
    char root[PATH];
    size_t root_length;
    int log, recording, mode, error;
    uint32_t kinds; /* bit k: calls of kind k count */
    long at, times; /* the faulty calls are at .. at + times - 1; the first has number 1 */
    volatile long counted;
    volatile int lock, armed;
} plan = {.log = -1};

/* ---- the one system call instruction that the filter lets through ---- */

long faults_raw(long number, ...) __attribute__((visibility("hidden")));
extern const char faults_raw_end[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
__asm__(".text\n.globl faults_raw\n.hidden faults_raw\n.type faults_raw, @function\nfaults_raw:\n"
        "movq %rdi, %rax\nmovq %rsi, %rdi\nmovq %rdx, %rsi\nmovq %rcx, %rdx\nmovq %r8, %r10\nmovq %r9, %r8\nmovq 8(%rsp), %r9\n"
        "syscall\n.globl faults_raw_end\n.hidden faults_raw_end\nfaults_raw_end:\nret\n");
#define ARGUMENT(context, i) \
    ((context)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9}[i]])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
__asm__(".text\n.globl faults_raw\n.hidden faults_raw\n.type faults_raw, %function\nfaults_raw:\n"
        "mov x8, x0\nmov x0, x1\nmov x1, x2\nmov x2, x3\nmov x3, x4\nmov x4, x5\nmov x5, x6\n"
        "svc #0\n.globl faults_raw_end\n.hidden faults_raw_end\nfaults_raw_end:\nret\n");
#define ARGUMENT(context, i) ((context)->uc_mcontext.regs[i])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#error "write the system call stub of this processor"
#endif

/* Always six arguments, each a long: the stub reads them all. */
#define PICK(a, b, c, d, e, f, ...) (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)
#define RAW(number, ...) faults_raw((long)(number), PICK(__VA_ARGS__, 0, 0, 0, 0, 0, 0))

/* ---- names ---- */

static int below_root(const char *path) {
    return strncmp(path, plan.root, plan.root_length) == 0 && (path[plan.root_length] == '/' || path[plan.root_length] == 0);
}

static int is_shared_memory(const char *path) { /* SQLite's: it is made anew after a crash */
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

/* The name under which a descriptor is open now; 0 unless it is below the root. */
static int name_of_descriptor(long descriptor, char *name) {
    char link[32] = "/proc/self/fd/", digits[16];
    int count = 0;
    size_t end = strlen(link);
    if (descriptor < 0) return 0;
    do digits[count++] = (char)('0' + descriptor % 10);
    while ((descriptor /= 10) != 0);
    while (count) link[end++] = digits[--count];
    link[end] = 0;
    long length = RAW(SYS_readlinkat, AT_FDCWD, link, name, PATH - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return below_root(name);
}

/* The name that a path means, its folder without links; 0 unless it is below the root. */
static int name_of_path(long folder, const char *path, char *name) {
    char parent[PATH];
    size_t length = strlen(path);
    if (length == 0 || length >= PATH) return 0;
    while (length > 1 && path[length - 1] == '/') length--;
    size_t base = length;
    while (base && path[base - 1] != '/') base--;
    memcpy(parent, base ? path : ".", base ? base : 1);
    parent[base ? base : 1] = 0;
    long descriptor = RAW(SYS_openat, folder, parent, O_PATH | O_CLOEXEC);
    if (descriptor < 0) return 0;
    int below = name_of_descriptor(descriptor, name);
    RAW(SYS_close, descriptor);
    size_t end = strlen(name);
    if (!below || end + 1 + length - base >= PATH) return 0;
    name[end] = '/';
    memcpy(name + end + 1, path + base, length - base);
    name[end + 1 + length - base] = 0;
    return 1;
}

/* ---- the record ---- */

struct record {
    uint32_t size, kind; /* size: of everything after this head */
    uint64_t inode;
    int64_t offset;
    uint32_t name_length, other_length;
};

static void put(const void *data, size_t size) {
    for (const char *at = data; size;) {
        long wrote = RAW(SYS_write, plan.log, at, size);
        if (wrote < 0) return;
        at += wrote;
        size -= (size_t)wrote;
    }
}

/* `data` holds `size` bytes, spread over pieces. */
static void record(enum kind kind, const struct stat *file, long offset, const char *name, const char *other,
                   const struct iovec *data, size_t size) {
    if (plan.log < 0 || (!plan.recording && kind != NOTE)) return;
    struct record head = {.kind = kind, .inode = file ? file->st_ino : 0, .offset = offset,
                          .name_length = (uint32_t)strlen(name), .other_length = (uint32_t)strlen(other)};
    head.size = (uint32_t)(head.name_length + head.other_length + size);
    put(&head, sizeof head);
    put(name, head.name_length);
    put(other, head.other_length);
    for (; size; data++) {
        size_t part = data->iov_len < size ? data->iov_len : size;
        put(data->iov_base, part);
        size -= part;
    }
}

/* ---- what a call does ---- */

struct call {
    long number, argument[6];
    enum kind kind;
    char name[PATH], other[PATH]; /* of a link: where it points; of a rename: the new name */
};

static void as_at(struct call *call, int paths) { /* rewrites mkdir(path, ...) as mkdirat(AT_FDCWD, path, ...) */
    memmove(call->argument + 1, call->argument, sizeof(long) * 5);
    call->argument[0] = AT_FDCWD;
    if (paths == 2) {
        memmove(call->argument + 3, call->argument + 2, sizeof(long) * 3);
        call->argument[2] = AT_FDCWD;
    }
}

static void modern(struct call *call) {
    switch (call->number) {
#ifdef SYS_open
    case SYS_creat: call->argument[2] = call->argument[1], call->argument[1] = O_CREAT | O_WRONLY | O_TRUNC; /* fall through */
    case SYS_open: as_at(call, 1), call->number = SYS_openat; break;
    case SYS_mkdir: as_at(call, 1), call->number = SYS_mkdirat; break;
    case SYS_unlink: as_at(call, 1), call->number = SYS_unlinkat, call->argument[2] = 0; break;
    case SYS_rmdir: as_at(call, 1), call->number = SYS_unlinkat, call->argument[2] = AT_REMOVEDIR; break;
    case SYS_rename: as_at(call, 2), call->number = SYS_renameat2, call->argument[4] = 0; break;
    case SYS_link: as_at(call, 2), call->number = SYS_linkat, call->argument[4] = 0; break;
    case SYS_symlink:
        call->argument[2] = call->argument[1], call->argument[1] = AT_FDCWD, call->number = SYS_symlinkat;
        break;
#endif
#ifdef SYS_renameat
    case SYS_renameat: call->number = SYS_renameat2, call->argument[4] = 0; break;
#endif
    }
}

static enum kind kind_of_open(const struct call *call) {
    struct stat found;
    const long flags = call->argument[2];
    if ((flags & O_TMPFILE) == O_TMPFILE) return STRANGE;
    if (RAW(SYS_newfstatat, call->argument[0], call->argument[1], &found, 0) < 0) return flags & O_CREAT ? CREATE : NONE;
    return (flags & O_TRUNC) && S_ISREG(found.st_mode) && found.st_size ? TRUNCATE : NONE;
}

/* What a call would change below the root; NONE if nothing. */
static enum kind kind_of(struct call *call) {
    const long *a = call->argument;
    modern(call);
    switch (call->number) {
    case SYS_openat: return name_of_path(a[0], (char *)a[1], call->name) ? kind_of_open(call) : NONE;
    case SYS_write:
    case SYS_writev:
    case SYS_pwrite64: return name_of_descriptor(a[0], call->name) ? WRITE : NONE;
    case SYS_fsync:
    case SYS_fdatasync: return name_of_descriptor(a[0], call->name) ? SYNC : NONE;
    case SYS_ftruncate: return name_of_descriptor(a[0], call->name) ? TRUNCATE : NONE;
    case SYS_mkdirat: return name_of_path(a[0], (char *)a[1], call->name) ? MKDIR : NONE;
    case SYS_symlinkat:
        strncpy(call->other, (char *)a[0], PATH - 1);
        return name_of_path(a[1], (char *)a[2], call->name) ? SYMLINK : NONE;
    case SYS_unlinkat:
        if (!name_of_path(a[0], (char *)a[1], call->name)) return NONE;
        return a[2] & AT_REMOVEDIR ? RMDIR : UNLINK;
    case SYS_renameat2:
    case SYS_linkat: {
        int from = name_of_path(a[0], (char *)a[1], call->name), to = name_of_path(a[2], (char *)a[3], call->other);
        if (!from && !to) return NONE;
        if (!from || !to || (call->number == SYS_renameat2 && (a[4] & RENAME_EXCHANGE))) return STRANGE;
        return call->number == SYS_linkat ? LINK : RENAME;
    }
    case SYS_mmap: /* shared and writable: stores into it are seen by nobody */
        return name_of_descriptor(a[4], call->name) && !is_shared_memory(call->name) ? STRANGE : NONE;
    case SYS_truncate: return name_of_path(AT_FDCWD, (char *)a[0], call->name) ? STRANGE : NONE;
    case SYS_pwritev:
    case SYS_pwritev2: return name_of_descriptor(a[0], call->name) ? STRANGE : NONE;
    }
    return NONE;
}

/* Fast ways of copying are refused, as many file systems do: everyone then writes in the plain way. -1: not such a call. */
static long refused(const struct call *call) {
    char name[PATH];
    const long *a = call->argument;
    switch (call->number) {
    case SYS_fallocate: return name_of_descriptor(a[0], name) && !is_shared_memory(name) ? -EOPNOTSUPP : -1;
    case SYS_sendfile: return name_of_descriptor(a[0], name) ? -EINVAL : -1;
    case SYS_copy_file_range:
    case SYS_splice: return name_of_descriptor(a[2], name) ? -EINVAL : -1;
    }
    return -1;
}

static long perform(const struct call *call) {
    const long *a = call->argument;
    if (call->kind == SYNC) return 0; /* what is in the page cache outlives the process; only a recorded power cut asks for more */
    return faults_raw(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Half of a write. */
static long perform_half(const struct call *call) {
    const long *a = call->argument;
    if (call->kind != WRITE) return perform(call);
    if (call->number == SYS_writev) {
        struct iovec first = *(struct iovec *)a[1];
        first.iov_len -= first.iov_len / 2;
        return RAW(SYS_writev, a[0], &first, 1);
    }
    return RAW(call->number, a[0], a[1], a[2] - a[2] / 2, a[3]);
}

static void record_call(const struct call *call, long offset, long result) {
    const long *a = call->argument;
    struct stat file = {0};
    const struct iovec plain = {(void *)a[1], (size_t)result};
    if (!plan.recording || result < 0) return;
    if (call->kind == CREATE || (call->kind == TRUNCATE && call->number == SYS_openat)) RAW(SYS_fstat, result, &file);
    if (call->kind == WRITE || call->kind == SYNC || call->number == SYS_ftruncate) RAW(SYS_fstat, a[0], &file);
    if (call->kind == MKDIR) RAW(SYS_newfstatat, AT_FDCWD, call->name, &file, AT_SYMLINK_NOFOLLOW);
    if (call->number == SYS_ftruncate) offset = a[1];
    record(call->kind, &file, offset, call->name, call->other, call->number == SYS_writev ? (struct iovec *)a[1] : &plain,
           call->kind == WRITE ? (size_t)result : 0);
}

static long offset_of(const struct call *call) {
    struct stat file;
    const long *a = call->argument;
    if (call->kind != WRITE || !plan.recording) return 0;
    if (call->number == SYS_pwrite64) return a[3];
    if (!(RAW(SYS_fcntl, a[0], F_GETFL) & O_APPEND)) return RAW(SYS_lseek, a[0], 0, SEEK_CUR);
    RAW(SYS_fstat, a[0], &file);
    return file.st_size;
}

static void die(void) {
    RAW(SYS_kill, RAW(SYS_getpid, 0), SIGKILL);
    for (;;) RAW(SYS_sched_yield, 0);
}

static long answer(struct call *call) {
    long result = plan.armed ? refused(call) : -1;
    if (result != -1) return result;
    call->kind = plan.armed ? kind_of(call) : NONE;
    if (call->kind == NONE) return faults_raw(call->number, call->argument[0], call->argument[1], call->argument[2],
                                              call->argument[3], call->argument[4], call->argument[5]);
    int faulty = 0;
    if (plan.kinds >> call->kind & 1) {
        long number = ++plan.counted;
        faulty = number >= plan.at && number < plan.at + plan.times;
    }
    if (faulty && plan.mode == KILL) die();
    if (faulty && plan.mode == FAIL) return -plan.error;
    long offset = offset_of(call);
    result = faulty && (plan.mode == SHORTEN || plan.mode == TEAR) ? perform_half(call) : perform(call);
    if (faulty && plan.mode == TEAR) die();
    record_call(call, offset, result);
    return result;
}

/* ---- the door ---- */

static void lock(void) {
    while (__atomic_exchange_n(&plan.lock, 1, __ATOMIC_ACQUIRE)) RAW(SYS_sched_yield, 0);
}

static void unlock(void) { __atomic_store_n(&plan.lock, 0, __ATOMIC_RELEASE); }

static void on_trap(int signal, siginfo_t *info, void *interrupted) {
    static struct call call; /* a thread's stack may be small; the lock makes one enough, and the record's order the true one */
    ucontext_t *context = interrupted;
    (void)signal;
    lock();
    call.number = info->si_syscall;
    call.name[0] = call.other[0] = 0;
    for (int i = 0; i < 6; i++) call.argument[i] = ARGUMENT(context, i);
    RESULT(context) = answer(&call);
    unlock();
}

static struct sock_filter program[128];
static unsigned short program_length;

static void add(uint16_t code, uint32_t value, uint8_t if_true, uint8_t if_false) {
    program[program_length++] = (struct sock_filter){code, if_true, if_false, value};
}

#define FIELD(name) (uint32_t)offsetof(struct seccomp_data, name)
#define LOAD(field) add(BPF_LD | BPF_W | BPF_ABS, field, 0, 0)
#define RETURN(action) add(BPF_RET | BPF_K, action, 0, 0)

static void trap(long number) {
    add(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1);
    RETURN(SECCOMP_RET_TRAP);
}

static void trap_if_set(long number, int argument, uint32_t bits) {
    add(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
    LOAD(FIELD(args) + 8 * (uint32_t)argument);
    add(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    RETURN(SECCOMP_RET_TRAP);
    RETURN(SECCOMP_RET_ALLOW);
}

static void trap_shared_writable(void) {
    add(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 6);
    LOAD(FIELD(args) + 16);
    add(BPF_JMP | BPF_JSET | BPF_K, PROT_WRITE, 0, 3);
    LOAD(FIELD(args) + 24);
    add(BPF_JMP | BPF_JSET | BPF_K, MAP_SHARED, 0, 1);
    RETURN(SECCOMP_RET_TRAP);
    RETURN(SECCOMP_RET_ALLOW);
}

static void write_program(void) {
    const uint64_t own = (uint64_t)(uintptr_t)faults_raw_end;
    const uint32_t making = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    static const long trapped[] = {
        SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_truncate,
        SYS_fallocate, SYS_sendfile, SYS_copy_file_range, SYS_splice, SYS_mkdirat, SYS_unlinkat, SYS_renameat2, SYS_linkat,
        SYS_symlinkat,
#ifdef SYS_renameat
        SYS_renameat,
#endif
#ifdef SYS_open
        SYS_creat, SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_symlink,
#endif
    };
    program_length = 0;
    LOAD(FIELD(arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    RETURN(SECCOMP_RET_ALLOW);
    LOAD(FIELD(instruction_pointer));
    add(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)own, 0, 3);
    LOAD(FIELD(instruction_pointer) + 4);
    add(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(own >> 32), 0, 1);
    RETURN(SECCOMP_RET_ALLOW);
    LOAD(FIELD(nr));
    for (size_t i = 0; i < sizeof trapped / sizeof *trapped; i++) trap(trapped[i]);
    trap_if_set(SYS_openat, 2, making);
#ifdef SYS_open
    trap_if_set(SYS_open, 1, making);
#endif
    trap_shared_writable();
    RETURN(SECCOMP_RET_ALLOW);
}

/* ---- what a program calls ---- */

/* From here on, in this thread and those that it starts. `root` is a real path; `record` asks for every call with its data, not
 * only for notes. The process must not exec. 0, or the error's number where the kernel refuses. */
int faults_arm(const char *root, const char *log, int recording, int mode, uint32_t kinds, long at, long times, int error) {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    if (strlen(root) >= PATH) return ENAMETOOLONG;
    strcpy(plan.root, root);
    plan.root_length = strlen(root);
    plan.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (plan.log < 0) return errno;
    plan.recording = recording, plan.mode = mode, plan.kinds = kinds, plan.at = at, plan.times = times, plan.error = error;
    plan.counted = 0;
    write_program();
    struct sock_fprog filter = {program_length, program};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return errno;
    plan.armed = 1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) ? errno : 0;
}

/* No more faults and no more records; calls go through. */
void faults_disarm(void) { plan.armed = 0; }

/* How many calls have counted so far. */
long faults_counted(void) { return plan.counted; }

/* Put a text into the log, in order with the calls. */
void faults_note(const char *text, size_t size) {
    const struct iovec data = {(void *)text, size};
    lock();
    record(NOTE, NULL, 0, "", "", &data, size);
    unlock();
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *root = getenv("FAULTS_ROOT"), *log = getenv("FAULTS_LOG"), *kill = getenv("FAULTS_KILL_AT");
    if (!root || !log) return;
    int failed = faults_arm(root, log, 1, kill ? KILL : COUNT, ~0u, kill ? atol(kill) : 0, 1, 0);
    if (failed) _exit(99);
}
