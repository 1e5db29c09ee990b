// A program that runs a second process of itself, and what the two say to each other. Each process calls
// the driver on its own: the second one is started before anything of CUDA is, and executes the program anew.
#pragma once

#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct peer {
    pid_t pid;
    int socket;
};

// Starts this program again, with `role` as its argument. It does not outlive this process.
static inline struct peer peer_start(const char *role) {
    struct peer peer = {-1, -1};
    int ends[2];
    char number[16];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
        fflush(NULL);
        peer.pid = fork();
        if (peer.pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(ends[0]);
            snprintf(number, sizeof number, "%d", ends[1]);
            execl("/proc/self/exe", "/proc/self/exe", role, number, (char *)NULL);
            _exit(127);
        }
        close(ends[1]);
        peer.socket = ends[0];
    }
    if (peer.pid < 0) {
        printf("fail set-up: cannot start a process\n");
        exit(1);
    }
    return peer;
}

// Whether this is the second process in this role; then `parent` leads to the first one.
static inline int peer_is(int argc, char **argv, const char *role, struct peer *parent) {
    if (argc != 3 || strcmp(argv[1], role))
        return 0;
    *parent = (struct peer){getppid(), atoi(argv[2])};
    return 1;
}

static inline void peer_lost_(void) {
    printf("fail set-up: the other process is gone\n");
    exit(1);
}

static inline void peer_send(struct peer peer, const void *data, size_t size) {
    if (send(peer.socket, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        peer_lost_();
}

static inline void peer_receive(struct peer peer, void *data, size_t size) {
    if (recv(peer.socket, data, size, MSG_WAITALL) != (ssize_t)size)
        peer_lost_();
}

// "I am here", and waiting for that.
static inline void peer_signal(struct peer peer) { peer_send(peer, "!", 1); }

static inline void peer_wait(struct peer peer) {
    char byte;
    peer_receive(peer, &byte, 1);
}

// Sends a file descriptor.
static inline void peer_send_fd(struct peer peer, int fd) {
    union {
        char bytes[CMSG_SPACE(sizeof fd)];
        struct cmsghdr header;
    } control = {0};
    char byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(peer.socket, &message, MSG_NOSIGNAL) != 1)
        peer_lost_();
}

static inline int peer_receive_fd(struct peer peer) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {0};
    char byte = 0;
    int fd = -1;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(peer.socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
        peer_lost_();
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

// Waits for the end of the second process; its exit code, -1 if a signal has ended it.
static inline int peer_end(struct peer peer) {
    int status = -1;
    close(peer.socket);
    waitpid(peer.pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Ends the second process where there is nothing to check, for a reason; the exit code.
static inline int peer_skip(struct peer peer, const char *reason) {
    SKIP("all", reason);
    kill(peer.pid, SIGKILL);
    peer_end(peer);
    return finish();
}

// For what has to fail, and for which CUDA documents several errors.
static inline int check_error_(const char *name, CUresult result, const char *call, const char *file, int line) {
    if (result == CUDA_ERROR_NOT_SUPPORTED)
        return check_result_(name, result, CUDA_SUCCESS, call, file, line);
    return check_(name, result != CUDA_SUCCESS, call, file, line);
}
#define CHECK_FAILS(name, call) check_error_(name, call, #call, __FILE__, __LINE__)

// Whether `count` numbers in device memory are first, first + step, ...
static inline int device_holds(CUdeviceptr memory, size_t count, unsigned first, unsigned step) {
    unsigned *numbers = malloc(count * sizeof *numbers);
    NEED(cuMemcpyDtoH(numbers, memory, count * sizeof *numbers));
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++)
        wrong += numbers[i] != first + (unsigned)i * step;
    free(numbers);
    return wrong == 0;
}

static inline void device_fill(CUdeviceptr memory, size_t count, unsigned first, unsigned step) {
    unsigned *numbers = malloc(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = first + (unsigned)i * step;
    NEED(cuMemcpyHtoD(memory, numbers, count * sizeof *numbers));
    NEED(cuCtxSynchronize());
    free(numbers);
}
