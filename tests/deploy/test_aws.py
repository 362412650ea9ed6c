"""The CloudFormation template: valid, everything behind the one address, and the outputs that the chart needs."""

import json
from pathlib import Path
from typing import Any

import pytest

api = pytest.importorskip("cfnlint.api", reason="cfn-lint is not installed; it comes with the group `dev`")
decode = pytest.importorskip(
    "cfnlint.decode.cfn_yaml", reason="cfn-lint is not installed; it comes with the group `dev`"
)

TEMPLATE = Path(__file__).parents[2] / "deploy" / "aws" / "breakwater.yaml"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    parsed: dict[str, Any] = decode.loads(TEMPLATE.read_text())
    return parsed


def resources(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: made for name, made in template["Resources"].items() if made["Type"] == kind}


def test_cfn_lint_finds_nothing() -> None:
    """Errors and warnings; what begins with I is advice."""
    found = [match for match in api.lint_all(TEMPLATE.read_text()) if not match.rule.id.startswith("I")]
    assert [str(match) for match in found] == []


def test_cfn_lint_finds_a_mistake() -> None:
    broken = TEMPLATE.read_text().replace("AllocationId: !GetAtt EgressAddress", "AllocationId: !GetAtt NoSuchAddress")
    assert any(match.rule.id.startswith("E") for match in api.lint_all(broken))


def test_every_node_reaches_the_world_through_the_one_address(template: dict[str, Any]) -> None:
    (nat,) = resources(template, "AWS::EC2::NatGateway").values()
    assert nat["Properties"]["AllocationId"] == {"Fn::GetAtt": ["EgressAddress", "AllocationId"]}
    associations = [
        made["Properties"] for made in resources(template, "AWS::EC2::SubnetRouteTableAssociation").values()
    ]
    tables = {made["SubnetId"]["Ref"]: made["RouteTableId"]["Ref"] for made in associations}
    routes = [made["Properties"] for made in resources(template, "AWS::EC2::Route").values()]
    behind = {route["RouteTableId"]["Ref"] for route in routes if "NatGatewayId" in route}
    open_to_all = {route["RouteTableId"]["Ref"] for route in routes if "GatewayId" in route}
    assert not behind & open_to_all
    groups = resources(template, "AWS::EKS::Nodegroup")
    assert len(groups) == 2
    for group in groups.values():
        assert {tables[subnet["Ref"]] for subnet in group["Properties"]["Subnets"]} <= behind


def test_the_cluster_has_what_the_chart_needs_of_it(template: dict[str, Any]) -> None:
    """Volumes, NetworkPolicies that are enforced, and both ways in which pods prove who they are."""
    addons = {made["Properties"]["AddonName"]: made for made in resources(template, "AWS::EKS::Addon").values()}
    assert set(addons) == {"vpc-cni", "aws-ebs-csi-driver", "eks-pod-identity-agent"}
    assert json.loads(addons["vpc-cni"]["Properties"]["ConfigurationValues"]) == {"enableNetworkPolicy": "true"}
    (driver,) = addons["aws-ebs-csi-driver"]["Properties"]["PodIdentityAssociations"]
    assert driver["RoleArn"] == {"Fn::GetAtt": ["VolumeRole", "Arn"]}
    assert "NodeGroup" in addons["aws-ebs-csi-driver"]["DependsOn"], "its controller needs a node to become ready"
    (provider,) = resources(template, "AWS::IAM::OIDCProvider").values()
    assert provider["Properties"]["ClientIdList"] == ["sts.amazonaws.com"]


def test_the_address_and_the_books_outlive_the_stack(template: dict[str, Any]) -> None:
    (address,) = resources(template, "AWS::EC2::EIP").values()
    (database,) = resources(template, "AWS::RDS::DBInstance").values()
    assert (address["DeletionPolicy"], database["DeletionPolicy"]) == ("Retain", "Snapshot")
    assert database["Properties"]["PubliclyAccessible"] is False


def test_outputs_name_what_the_charts_values_need(template: dict[str, Any]) -> None:
    assert set(template["Outputs"]) == {
        "EgressIp",
        "EgressNodeLabel",
        "ClusterName",
        "IdentityProviderArn",
        "DatabaseHost",
        "DatabasePort",
        "DatabaseSecretArn",
    }
    (tainted,) = [
        group["Properties"]
        for group in resources(template, "AWS::EKS::Nodegroup").values()
        if "Taints" in group["Properties"]
    ]
    key, value = template["Outputs"]["EgressNodeLabel"]["Value"].split("=")
    assert tainted["Labels"] == {key: value}
    assert [(taint["Key"], taint["Value"]) for taint in tainted["Taints"]] == [(key, value)]
