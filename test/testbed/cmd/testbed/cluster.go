package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/testbed/internal/cluster"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

func newUp() *cobra.Command {
	parameters := plan.Parameters{Nodes: 3, Kubernetes: cluster.Versions()[0], NetworkPolicies: true}
	var set *string
	command := &cobra.Command{
		Use:   "up",
		Short: "Bring a testbed up and wait until it can be used",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbedFor(command, *set)
			if err != nil {
				return err
			}
			if err := t.Up(command.Context(), parameters); err != nil {
				return err
			}
			path, err := t.Kubeconfig()
			if err != nil {
				return err
			}
			fmt.Fprintf(command.OutOrStdout(), "export KUBECONFIG=%s\n", path)
			return nil
		},
	}
	set = addFor(command)
	flags := command.Flags()
	flags.IntVar(&parameters.Nodes, "nodes", parameters.Nodes, "how many nodes")
	flags.StringVar(&parameters.Kubernetes, "kubernetes", parameters.Kubernetes, fmt.Sprintf("Kubernetes version, one of %v", cluster.Versions()))
	flags.BoolVar(&parameters.NetworkPolicies, "network-policies", parameters.NetworkPolicies, "enforce NetworkPolicies")
	flags.BoolVar(&parameters.Audit, "audit", false, "keep a log of who asked the API server for what: see testbed logs hub --unit audit")
	return command
}

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove a testbed and everything of it but the cache",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			return t.Down(command.Context())
		},
	}
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the names of the testbeds, each on a line",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			base, err := baseDir()
			if err != nil {
				return err
			}
			names, err := cluster.List(base)
			for _, name := range names {
				fmt.Fprintln(command.OutOrStdout(), name)
			}
			return err
		},
	}
}

func newKubeconfig() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			path, err := t.Kubeconfig()
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), path)
			return nil
		},
	}
}

func newLogs() *cobra.Command {
	unit := "kubelet"
	command := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print the log of a unit of a node, or of the hub (the control plane)",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			return t.Logs(args[0], unit, command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&unit, "unit", unit, "containerd, kubelet, kube-proxy, network-policy or supervisor; of the hub: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, coredns, services, audit or supervisor")
	return command
}

func newNode() *cobra.Command {
	node := &cobra.Command{Use: "node", Short: "Stop and start single nodes", Args: cobra.NoArgs}
	node.AddCommand(
		&cobra.Command{
			Use:   "stop NODE",
			Short: "Take a node's power away",
			Args:  cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				t, err := newTestbed(command)
				if err != nil {
					return err
				}
				return t.StopNode(command.Context(), args[0])
			},
		},
		&cobra.Command{
			Use:   "start NODE",
			Short: "Start a node that was stopped, and wait until it is ready",
			Args:  cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				t, err := newTestbed(command)
				if err != nil {
					return err
				}
				return t.StartNode(command.Context(), args[0])
			},
		},
		newNodeRun(),
	)
	return node
}

func newRestart() *cobra.Command {
	return &cobra.Command{
		Use:     "restart PROGRAM",
		Short:   "Kill a program of the control plane and wait until it serves again",
		Example: "  testbed restart kube-apiserver",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			return t.Restart(command.Context(), args[0])
		},
	}
}

func newStatus() *cobra.Command {
	output := "text"
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what runs",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			status, err := t.Status(command.Context())
			if err != nil {
				return err
			}
			return status.Write(command.OutOrStdout(), output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", output, "text or json")
	return command
}
