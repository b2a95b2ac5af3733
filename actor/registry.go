package actor

import proto "github.com/asynkron/protoactor-go/actor"

// registryBuckets is how many buckets the registry of our own actor system has, of 32 maps each.
//
// Proto.Actor makes 1,024 of them: 32,768 maps, 4.4 MB, which each collection of garbage looks through, and where nearly
// every actor has a map to itself that is made for eight. With a thousand maps still no two processors wait for each
// other, and ten thousand connections share tables of some ten entries.
const registryBuckets = 32

// shrinkRegistry makes sys, which is new, have fewer buckets. What is registered by now moves.
func shrinkRegistry(sys *proto.ActorSystem) {
	buckets := sys.ProcessRegistry.LocalPIDs
	all := buckets.LocalPIDs
	if len(all) <= registryBuckets {
		return
	}
	registered := map[string]any{}
	for _, b := range all {
		for id, process := range b.Items() {
			registered[id] = process
			b.Remove(id)
		}
	}
	few := append(all[:0:0], all[:registryBuckets]...)
	buckets.LocalPIDs = few
	for id, process := range registered {
		buckets.GetBucket(id).Set(id, process)
	}
}
