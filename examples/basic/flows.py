from prefect import flow


@flow(log_prints=True)
def my_flow():
    print("Hello from Northflank!")
    return "Flow completed successfully"


@flow(log_prints=True)
def greet(name: str = "world", times: int = 1):
    for _ in range(times):
        print(f"Hello, {name}!")


@flow
def fail_on_purpose():
    raise ValueError("this flow fails on purpose")


if __name__ == "__main__":
    my_flow()
