// Runs a command many times and compares every run with one known good run:
// output (standard output and error together), exit code, fatal signal.
//
//   repeat save FILE COMMAND ARG...          one run, kept in FILE
//   repeat check FILE RUNS COMMAND ARG...    RUNS runs, each compared with FILE
//
// The command inherits the environment; LD_PRELOAD for it comes from the
// variable REPEAT_PRELOAD. This program is linked statically, so that nothing
// preloaded reaches it. `check` prints one summary and exits with 0 only if
// every run was the same.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { output_limit = 1 << 18 };

struct run {
    size_t length; // of the output, followed by one line with the wait status
    char bytes[output_limit + 64];
};

static void fail(const char *what) {
    perror(what);
    exit(2);
}

// One child's environment: ours, with LD_PRELOAD if the caller asked for it.
static char **child_environment(void) {
    const char *preload = getenv("REPEAT_PRELOAD");
    if (preload && setenv("LD_PRELOAD", preload, 1) != 0) fail("setenv");
    return environ;
}

static void run_once(char **command, char **environment, struct run *run) {
    int pipes[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe2(pipes, O_CLOEXEC) != 0) fail("pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDERR_FILENO);
    errno = posix_spawnp(&child, command[0], &actions, NULL, command, environment);
    if (errno) fail(command[0]);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);

    run->length = 0;
    for (;;) {
        ssize_t got = read(pipes[0], run->bytes + run->length, output_limit - run->length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        run->length += (size_t)got;
    }
    close(pipes[0]);
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    run->length += (size_t)sprintf(run->bytes + run->length, "\nexit %d signal %d\n",
                                   WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                                   WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static int save(const char *path, char **command) {
    static struct run run;
    FILE *file = fopen(path, "we");
    if (!file) fail(path);
    run_once(command, child_environment(), &run);
    if (fwrite(run.bytes, 1, run.length, file) != run.length || fclose(file) != 0) fail(path);
    return 0;
}

// Compares `runs` runs with the expected one; returns how many differed. The
// first that did is printed.
static int compare(const struct run *expected, int runs, char **command) {
    static struct run run;
    char **environment = child_environment();
    int different = 0;
    for (int i = 0; i < runs; i++) {
        run_once(command, environment, &run);
        if (run.length == expected->length && !memcmp(run.bytes, expected->bytes, run.length))
            continue;
        if (different++ == 0)
            fprintf(stderr, "run %d of %s differs:\n%.*s\n", i + 1, command[0],
                    (int)(run.length < 2000 ? run.length : 2000), run.bytes);
    }
    return different;
}

// The runs are divided between as many processes as there are processors.
static int check(const char *path, int runs, char **command) {
    static struct run expected;
    FILE *file = fopen(path, "re");
    if (!file) fail(path);
    expected.length = fread(expected.bytes, 1, sizeof expected.bytes, file);
    fclose(file);

    int workers = (int)sysconf(_SC_NPROCESSORS_ONLN), failed = 0, status;
    for (int worker = 0; worker < workers; worker++) {
        int share = runs / workers + (worker < runs % workers);
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) exit(compare(&expected, share, command) != 0);
    }
    while (wait(&status) > 0) failed |= status != 0;
    printf("%d runs of %s: %s\n", runs, command[0], failed ? "differences" : "all the same");
    return failed;
}

int main(int argc, char **argv) {
    if (argc >= 4 && !strcmp(argv[1], "save")) return save(argv[2], argv + 3);
    if (argc >= 5 && !strcmp(argv[1], "check") && atoi(argv[3]) > 0)
        return check(argv[2], atoi(argv[3]), argv + 4);
    fprintf(stderr, "usage: repeat save FILE COMMAND... | repeat check FILE RUNS COMMAND...\n");
    return 2;
}
