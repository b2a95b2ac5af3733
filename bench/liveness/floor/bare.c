// The floor under a watched connection: one thread, level-triggered epoll_wait, one recv for what came, one send of four
// bytes for each keepalive, and a wheel of slots that says whose turn it is. It has no state for its connections but their
// descriptors, judges nobody, and drops one that does not read: nobody should use it.
//
//	bare TIMEOUT_MS HELLO [PORT CONNECTIONS]
//
// Without PORT it listens on a free port of the loopback, and says where; with it, it opens CONNECTIONS to that port. HELLO
// is what it says first on each connection, in hexadecimal; empty: nothing. A word on standard input is a question: cpu
// (microseconds), open (connections), spoken (keepalives).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { GRID_MS = 10, MAX_CONNS = 20000, LISTENER = -1, INPUT = -2 };

static int ep, fds[MAX_CONNS], used, open_now;
static long spoken;
static long pace_ms;
static unsigned char hello[256];
static int hello_size;

// The wheel: a list of connections for each slot of GRID_MS.
static int *head, next[MAX_CONNS], slots;
static long at; // the slot that was served last

static uint64_t seed = 88172645463325252ULL;
static uint64_t random64(void) {
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void die(const char *what) {
	perror(what);
	exit(1);
}

static long now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

// arm: after pace less 0 to 10 %, rounded down to the grid.
static void arm(int i, long now) {
	long ms = pace_ms - (long)(random64() % (uint64_t)(pace_ms / 10 + 1));
	long d = ms / GRID_MS > 0 ? ms / GRID_MS : 1;
	int slot = (int)((now + d) % slots);
	next[i] = head[slot];
	head[slot] = i;
}

static void drop(int i) {
	close(fds[i]);
	fds[i] = -1;
	open_now--;
}

static void say(int i, const void *p, int n) {
	if (send(fds[i], p, n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) drop(i);
}

static void add(int fd) {
	int one = 1, i = used;
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = i};
	if (used == MAX_CONNS) {
		close(fd);
		return;
	}
	used++;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fds[i] = fd;
	open_now++;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)) die("epoll_ctl");
	if (hello_size) say(i, hello, hello_size);
	if (fds[i] >= 0) arm(i, now_us() / 1000 / GRID_MS);
}

static void answer(void) {
	static char line[4096];
	struct rusage u;
	char *word, *save;
	int n = (int)read(0, line, sizeof line - 1);
	if (n <= 0) exit(0); // the parent is gone
	line[n] = 0;
	for (word = strtok_r(line, "\n", &save); word; word = strtok_r(0, "\n", &save)) {
		getrusage(RUSAGE_SELF, &u);
		if (!strcmp(word, "cpu"))
			printf("%ld\n", (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000L + u.ru_utime.tv_usec + u.ru_stime.tv_usec);
		else if (!strcmp(word, "open"))
			printf("%d\n", open_now);
		else if (!strcmp(word, "spoken"))
			printf("%ld\n", spoken);
		else
			printf("what?\n");
	}
	fflush(stdout);
}

// wait_ms is how long it is until somebody must speak.
static int wait_ms(void) {
	for (long d = 1; d <= slots; d++)
		if (head[(at + d) % slots] >= 0) {
			long left = (at + d) * GRID_MS * 1000L - now_us();
			return left > 0 ? (int)((left + 999) / 1000) : 0;
		}
	return 100;
}

static void speak(void) {
	static const char keepalive[4];
	for (long now = now_us() / 1000 / GRID_MS; at < now;) {
		int i = head[++at % slots], then;
		head[at % slots] = -1;
		for (; i >= 0; i = then) {
			then = next[i];
			if (fds[i] < 0) continue;
			say(i, keepalive, 4);
			spoken++;
			arm(i, at);
		}
	}
}

int main(int argc, char **argv) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev[256];
	static char buf[65536];
	int listener = -1;
	if (argc != 3 && argc != 5) return 2;
	pace_ms = atol(argv[1]) / 4;
	for (const char *h = argv[2]; h[0] && h[1]; h += 2) sscanf(h, "%2hhx", &hello[hello_size++]);
	slots = (int)(pace_ms / GRID_MS) + 2;
	head = malloc(slots * sizeof *head);
	for (int i = 0; i < slots; i++) head[i] = -1;
	at = now_us() / 1000 / GRID_MS;
	ep = epoll_create1(EPOLL_CLOEXEC);
	ev[0] = (struct epoll_event){.events = EPOLLIN, .data.fd = INPUT};
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, 0, &ev[0])) die("epoll");
	if (argc == 3) {
		socklen_t size = sizeof a;
		listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4096)) die("listen");
		getsockname(listener, (struct sockaddr *)&a, &size);
		ev[0] = (struct epoll_event){.events = EPOLLIN, .data.fd = LISTENER};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev[0])) die("epoll_ctl");
		printf("listening on 127.0.0.1:%d\n", ntohs(a.sin_port));
	} else {
		printf("dialing\n");
		a.sin_port = htons((uint16_t)atoi(argv[3]));
		for (int i = atoi(argv[4]); i > 0; i--) {
			int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("connect");
			add(fd);
		}
	}
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, 256, wait_ms());
		if (n < 0 && errno != EINTR) die("epoll_wait");
		for (int k = 0; k < n; k++) {
			int i = ev[k].data.fd, fd;
			if (i == INPUT)
				answer();
			else if (i == LISTENER)
				while ((fd = accept4(listener, 0, 0, SOCK_CLOEXEC)) >= 0) add(fd);
			else if (fds[i] >= 0) {
				ssize_t got = recv(fds[i], buf, sizeof buf, MSG_DONTWAIT);
				if (got == 0 || got < 0 && errno != EAGAIN) drop(i);
			}
		}
		speak();
	}
}
