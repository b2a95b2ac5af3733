// Package loop runs connections on event loops. It alone touches sockets, and it decides nothing about a connection.
// Its API serves package actor and may change with it.
//
// If you write a server or a client, start with package actor. What you meet of this package there are [Options], for
// sockets, and the errors [ListenError] and [AdoptError].
//
// # Loops, tasks, sockets
//
// A [Loop] is one goroutine with a poller, the sockets pinned to it, a queue of [Task] and the deadlines of its
// sockets. It goes in rounds: poll, tell the owners of sockets what is ready or due, give turns. The queue is first
// in, first out, and a task that wants another turn goes to its back: nobody gets a second turn before all that were
// waiting had one.
//
// A [Socket] is a [conn.Backend] and a field of its [Owner], which is also a Task. A [Listener] accepts on one loop
// and deals the connections out to all; each arrives as an [Accepted] on the goroutine of its loop.
//
// "On the loop" below means: on the goroutine of that loop, so in a Turn, in a method of an Owner, in Accept, or in a
// function given to [Loop.Do].
package loop
