/* The work whose cost and record are measured. It counts what it did itself, so that a record can be held against it.
 *
 * calls KIND COUNT           time every call of a kind; prints count and percentiles of nanoseconds a call
 * calls opens READS STATS    READS read-only opens and STATS stats; prints nanoseconds in all
 * calls storm P O F R C      P processes, together O write-opens, F forks, R renames, C connects; prints counts and times
 * calls paced KIND COUNT     as KIND, but waits for a byte on stdin before and after
 * calls clock                prints CLOCK_MONOTONIC, first thing
 * calls touch PATH SHARED    opens PATH for writing, then stores 1 into SHARED; a child stores the time there until it ends
 * calls busy SHARED          write-opens and forks without end; counts the finished ones in SHARED
 * calls flood BYTES          writes BYTES of a fixed pseudo-random stream to stdout
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- one call of each kind; each returns only if it did what it is named for --------------------------------------- */

static void open_write(int worker, int n) {
    char path[64];
    snprintf(path, sizeof path, "storm/w%d-%d", worker, n % 16);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) die(path);
    close(fd);
}

static void open_read(int worker, int n) {
    int fd = open("storm/read", O_RDONLY);
    if (fd < 0) die("storm/read");
    close(fd);
}

static void file_stat(int worker, int n) {
    struct stat st;
    if (stat("storm/read", &st) < 0) die("stat");
}

static void do_rename(int worker, int n) {
    char from[64], to[64];
    snprintf(from, sizeof from, "storm/r%d-%d", worker, n & 1);
    snprintf(to, sizeof to, "storm/r%d-%d", worker, ~n & 1);
    if (rename(from, to) < 0) die(from);
}

/* A port where nothing listens: the kernel's TCP answers at once, and no server has to keep up. */
static void do_connect(int worker, int n) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != ECONNREFUSED) die("connect");
    close(fd);
}

static void do_fork(int worker, int n) {
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) _exit(0);
    if (waitpid(pid, NULL, 0) != pid) die("waitpid");
}

static void do_exec(int worker, int n) {
    char *argv[] = {"true", NULL};
    pid_t pid;
    int status;
    errno = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
    if (errno) die("posix_spawn");
    if (waitpid(pid, &status, 0) != pid || status != 0) die("true");
}

static const struct kind { const char *name; void (*call)(int, int); } KINDS[] = {
    {"open_write", open_write}, {"open_read", open_read}, {"stat", file_stat}, {"rename", do_rename},
    {"connect", do_connect}, {"fork_exit", do_fork}, {"exec", do_exec},
};

static void (*find(const char *name))(int, int) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (!strcmp(KINDS[i].name, name)) return KINDS[i].call;
    fprintf(stderr, "calls: unknown kind %s\n", name);
    exit(2);
}

static void touch_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) die(path);
    close(fd);
}

static void prepare(int workers) {
    char path[64];
    if (mkdir("storm", 0700) < 0 && errno != EEXIST) die("storm");
    touch_file("storm/read");
    for (int w = 0; w < workers; w++) {
        snprintf(path, sizeof path, "storm/r%d-0", w);
        touch_file(path);
        snprintf(path, sizeof path, "storm/r%d-1", w);
        unlink(path);
    }
}

/* --- the commands -------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int timed(const char *name, int count) {
    void (*call)(int, int) = find(name);
    uint64_t *took = calloc((size_t)count, sizeof *took);
    if (!took || count < 1) die("count");
    prepare(1);
    for (int i = 0; i < count; i++) {
        uint64_t start = now();
        call(0, i);
        took[i] = now() - start;
    }
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) sum += took[i];
    qsort(took, (size_t)count, sizeof *took, by_size);
#define AT(q) ((unsigned long)took[(size_t)((q) * (count - 1))])
    printf("{\"made\": %d, \"mean_ns\": %lu, \"p5_ns\": %lu, \"p50_ns\": %lu, \"p95_ns\": %lu, \"p99_ns\": %lu}\n", count,
           (unsigned long)(sum / (uint64_t)count), AT(0.05), AT(0.5), AT(0.95), AT(0.99));
    return 0;
}

static int paced(const char *name, int count) {
    void (*call)(int, int) = find(name);
    char byte;
    prepare(1);
    printf("begin\n");
    fflush(stdout);
    if (read(0, &byte, 1) != 1) return 1;
    uint64_t start = now();
    for (int i = 0; i < count; i++) call(0, i);
    printf("%lu\n", (unsigned long)(now() - start));
    fflush(stdout);
    return read(0, &byte, 1) == 1 ? 0 : 1;
}

static int opens(int reads, int stats) {
    prepare(1);
    uint64_t start = now();
    for (int i = 0; i < reads; i++) open_read(0, i);
    for (int i = 0; i < stats; i++) file_stat(0, i);
    printf("{\"reads\": %d, \"stats\": %d, \"ns\": %lu}\n", reads, stats, (unsigned long)(now() - start));
    return 0;
}

struct board { _Atomic uint64_t made[4]; _Atomic int at_gate[4]; };

/* Each worker does its share of one kind and counts; workers wait for each other between kinds, so times do not mix. */
static int storm(int workers, char **numbers) {
    static const char *names[] = {"open_write", "fork_exit", "rename", "connect"};
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || workers < 1) die("storm");
    prepare(workers);
    uint64_t took[4];
    for (int k = 0; k < 4; k++) {
        int share = atoi(numbers[k]) / workers;
        void (*call)(int, int) = find(names[k]);
        pid_t pids[64];
        if (workers > 64) die("workers");
        for (int w = 0; w < workers; w++) {
            if ((pids[w] = fork()) < 0) die("fork");
            if (pids[w] == 0) {
                board->at_gate[k]++;
                while (board->at_gate[k] <= workers) usleep(200);
                for (int i = 0; i < share; i++) {
                    call(w, i);
                    board->made[k]++;
                }
                _exit(0);
            }
        }
        while (board->at_gate[k] < workers) usleep(200);
        uint64_t start = now();
        board->at_gate[k]++;
        for (int w = 0; w < workers; w++) {
            int status;
            if (waitpid(pids[w], &status, 0) != pids[w] || status != 0) die("worker");
        }
        took[k] = now() - start;
    }
    printf("{\"workers\": %d", workers * 4);
    for (int k = 0; k < 4; k++)
        printf(", \"%s\": {\"made\": %lu, \"ns\": %lu}", names[k], (unsigned long)board->made[k], (unsigned long)took[k]);
    printf("}\n");
    return 0;
}

static volatile uint64_t *share(const char *path) {
    int fd = open(path, O_RDWR);
    if (fd < 0) die(path);
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) die("mmap");
    close(fd);
    return at;
}

/* shared[0]: 1 once the call returned. [1]: time before the call. [2]: last time the child was alive. [3]: child runs. */
static int touch(const char *path, const char *shared) {
    volatile uint64_t *board = share(shared);
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0)
        for (;;) {
            board[2] = now();
            board[3] = 1;
        }
    while (!board[3]) usleep(100);
    board[1] = now();
    int fd = open(path, O_WRONLY | O_APPEND);
    board[0] = 1;
    return fd < 0;
}

static _Noreturn void busy(const char *shared) {
    volatile uint64_t *board = share(shared);
    prepare(1);
    for (int i = 0;; i++) {
        open_write(0, i);
        board[0]++;
        if (i % 8 == 0) {
            do_fork(0, i);
            board[1]++;
        }
    }
}

static int flood(uint64_t bytes) {
    static uint64_t block[8192];
    uint64_t x = 88172645463325252u; /* xorshift64, Marsaglia 2003 */
    while (bytes) {
        for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            block[i] = x;
        }
        size_t want = bytes < sizeof block ? bytes : sizeof block, done = 0;
        while (done < want) {
            ssize_t wrote = write(1, (char *)block + done, want - done);
            if (wrote < 0) die("write");
            done += (size_t)wrote;
        }
        bytes -= want;
    }
    return 0;
}

int main(int argc, char **argv) {
    uint64_t first = now();
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "clock")) return printf("%lu\n", (unsigned long)first) < 0;
    if (argc == 4 && !strcmp(command, "opens")) return opens(atoi(argv[2]), atoi(argv[3]));
    if (argc == 7 && !strcmp(command, "storm")) return storm(atoi(argv[2]), argv + 3);
    if (argc == 4 && !strcmp(command, "paced")) return paced(argv[2], atoi(argv[3]));
    if (argc == 4 && !strcmp(command, "touch")) return touch(argv[2], argv[3]);
    if (argc == 3 && !strcmp(command, "busy")) busy(argv[2]);
    if (argc == 3 && !strcmp(command, "flood")) return flood(strtoull(argv[2], NULL, 10));
    if (argc == 3) return timed(command, atoi(argv[2]));
    fprintf(stderr, "calls: wrong use; see the head of calls.c\n");
    return 2;
}
