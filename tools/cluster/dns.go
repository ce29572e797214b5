package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// The domain that kubelet makes pods search.
const domain = ".svc.cluster.local."

// names answers by UDP for the addresses of services, SERVICE.NAMESPACE.svc.cluster.local, and knows no other name:
// enough for pods that call each other, and a tenth of what CoreDNS would take to build.
func names() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	listen := flag.String("listen", "", "address and port")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(err)
	client, err := kubernetes.NewForConfig(config)
	must(err)
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services().Lister()
	factory.Start(wait.NeverStop)
	factory.WaitForCacheSync(wait.NeverStop)
	socket, err := net.ListenPacket("udp", *listen)
	must(err)
	buffer := make([]byte, 4096)
	for {
		length, client, err := socket.ReadFrom(buffer)
		must(err)
		if answer, err := answer(buffer[:length], services); err == nil {
			_, _ = socket.WriteTo(answer, client)
		}
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func answer(query []byte, services listers.ServiceLister) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired},
		Questions: []dnsmessage.Question{question},
	}
	address, err := find(question.Name.String(), services)
	switch {
	case err != nil:
		message.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 5},
			Body:   &dnsmessage.AResource{A: address},
		}}
	}
	return message.Pack()
}

func find(name string, services listers.ServiceLister) (address [4]byte, err error) {
	short, ours := strings.CutSuffix(strings.ToLower(name), domain)
	service, namespace, two := strings.Cut(short, ".")
	if !ours || !two {
		return address, fmt.Errorf("%s is no service's name", name)
	}
	found, err := services.Services(namespace).Get(service)
	if err != nil {
		return address, err
	}
	if copy(address[:], net.ParseIP(found.Spec.ClusterIP).To4()) != len(address) {
		return address, fmt.Errorf("%s has no address", name)
	}
	return address, nil
}
